"""A release onto hosts, over ssh: what each host lacks is sent into the installer's standard input, one host after the other.

    artifact → for each host: look → thin artifact → install-release - → what it says

Nothing is kept on a host but what its installer installs: what is sent there has no name until then.
"""
