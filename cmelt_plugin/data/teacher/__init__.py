"""The teacher sidecar: Gaussians that a frozen encoder of echocardiograms gave, so that training needs no echo videos."""

from cmelt_plugin.data.teacher.entries import TeacherEntry, entry_of_frames, entry_of_videos
from cmelt_plugin.data.teacher.gaussian import EPS, merge_videos, teacher_gaussian
from cmelt_plugin.data.teacher.prompts import TeacherPrompts
from cmelt_plugin.data.teacher.reading import Teacher, open_teacher
from cmelt_plugin.data.teacher.writing import write_teacher

__all__ = [
    "EPS",
    "Teacher",
    "TeacherEntry",
    "TeacherPrompts",
    "entry_of_frames",
    "entry_of_videos",
    "merge_videos",
    "open_teacher",
    "teacher_gaussian",
    "write_teacher",
]
