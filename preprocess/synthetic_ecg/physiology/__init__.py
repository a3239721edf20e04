"""People, their hearts and what leads see of them: causes, rhythm, conduction, repolarisation, waves."""
