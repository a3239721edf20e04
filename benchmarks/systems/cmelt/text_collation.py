"""Mini-batches put together as released code does it: text work and the search for negatives inside the collator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.naive.records import read_mat_files


class NaiveCollator:
    """Recordings from .mat files, texts tokenised row by row, each negative found by embedding the row's own report.

    Args:
        texts: every unique report.
        report_ids: report of each record, int ``[n]``.
        mat_files: recording of each record.
        tokenizer: Hugging Face tokenizer.
        encoder: small text encoder, ids and attention mask → states.
        gallery: float32 ``[reports, d]``, unit norm, embeddings of ``texts``.
        k: farthest reports a negative is drawn from.
        n_ecg_tokens: for the noise that decides about masked ECG tokens.
    """

    def __init__(
        self,
        texts: Sequence[str],
        report_ids: np.ndarray,
        mat_files: Sequence[Path],
        tokenizer: Any,
        encoder: Any,
        gallery: np.ndarray,
        mask_id: int,
        special_ids: Sequence[int],
        k: int = 64,
        n_ecg_tokens: int = 312,
        max_tokens: int = 256,
    ) -> None:
        import faiss

        self.texts, self.report_ids, self.mat_files = texts, report_ids, mat_files
        self.tokenizer, self.encoder = tokenizer, encoder
        self.index = faiss.IndexFlatIP(gallery.shape[1])
        self.index.add(gallery)
        self.mask_id, self.special_ids = mask_id, set(special_ids)
        self.k, self.n_ecg_tokens, self.max_tokens = k, n_ecg_tokens, max_tokens

    @torch.no_grad()
    def embed(self, text: str) -> np.ndarray:
        """One text → float32 ``[1, d]``, unit norm: the mean of the encoder's states over real tokens."""
        inputs = self.tokenizer(text, return_tensors="pt", truncation=True, max_length=self.max_tokens)
        states = self.encoder(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
        return torch.nn.functional.normalize(states.mean(dim=1), dim=-1).numpy()

    def farthest(self, report: int) -> np.ndarray:
        """The ``k`` reports farthest from one report, int64 ``[k]``."""
        return self.index.search(-self.embed(self.texts[report]), self.k)[1][0]

    def negative(self, report: int, generator: np.random.Generator) -> int:
        """A report drawn from the farthest ones."""
        return int(generator.choice(self.farthest(report)))

    def __call__(self, rows: Sequence[int], generator: np.random.Generator) -> dict[str, Any]:
        """Row numbers → a batch like that of ``cmelt_plugin.data.batches.pretraining.PretrainingDataset``."""
        ecg = torch.from_numpy(read_mat_files([self.mat_files[row] for row in rows]))
        own = self.report_ids[np.asarray(rows)]
        used = own.copy()
        swapped = generator.permutation(len(rows))[: len(rows) // 2]
        for row in swapped:
            used[row] = self.negative(int(own[row]), generator)
        encoded = [self.tokenizer(self.texts[report], truncation=True, max_length=self.max_tokens) for report in used]
        padded = self.tokenizer.pad({"input_ids": [e["input_ids"] for e in encoded]}, return_tensors="pt")
        text, mlm_mask, target = self.mask_words(padded["input_ids"], padded["attention_mask"].bool(), generator)
        lead_mask = torch.from_numpy(generator.random((len(rows), ecg.shape[1])) < 0.5)
        lead_mask[lead_mask.all(dim=1), 0] = False
        aligned = torch.ones(len(rows), dtype=torch.bool)
        aligned[torch.from_numpy(swapped)] = False
        noise = torch.from_numpy(generator.integers(0, 2**31, (len(rows), self.n_ecg_tokens)))
        return {
            "net_input": {
                "ecg": ecg,
                "lead_mask": lead_mask,
                "text": text,
                "text_padding_mask": ~padded["attention_mask"].bool(),
                "mlm_mask": mlm_mask,
                "mem_noise": noise,
            },
            "mlm_target": target,
            "aligned": aligned,
            "report_id": torch.from_numpy(own),
            "text_report_id": torch.from_numpy(used),
        }

    def mask_words(
        self, ids: torch.Tensor, real: torch.Tensor, generator: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """A quarter of each text's ordinary words chosen: 80 % masked, 10 % another word, 10 % left as they are."""
        masked, chosen = ids.clone(), torch.zeros_like(real)
        for row in range(len(ids)):
            places = [i for i in range(ids.shape[1]) if real[row, i] and int(ids[row, i]) not in self.special_ids]
            for place in generator.permutation(places)[: max(1, round(0.25 * len(places)))]:
                chosen[row, place] = True
                fate = generator.random()
                if fate < 0.8:
                    masked[row, place] = self.mask_id
                elif fate < 0.9:
                    masked[row, place] = int(generator.integers(3, len(self.tokenizer) - len(self.special_ids)))
        return masked, chosen, ids[chosen]
