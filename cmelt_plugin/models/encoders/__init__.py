"""ECG encoders of others, of which only published weights are opened: nothing is trained here."""

from cmelt_plugin.registry import register_model

for _name, _class in (("ecg_fm", "ECGFM"), ("ecg_founder", "ECGFounder"), ("hubert_ecg", "HuBERTECG")):
    register_model(
        _name,
        model=f"cmelt_plugin.models.encoders.{_name}:{_class}",
        config=f"cmelt_plugin.models.encoders.{_name}:{_class}Config",
        released=f"cmelt_plugin.models.encoders.{_name}",
    )
