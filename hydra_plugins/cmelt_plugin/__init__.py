"""Found by hydra when a host's own command starts; registers the plugin before the configuration is composed.

Other hydra programs in the same environment load no host, and for them this module does nothing.
"""

import sys

if "fairseq" in sys.modules or "fairseq_signals" in sys.modules:
    import cmelt_plugin

    cmelt_plugin.register()
