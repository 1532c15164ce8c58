"""describe: what a configuration means, for --check."""

from zktw.config.clientport import SYSTEMD
from zktw.config.keys import PROPERTIES, Effect, effect_of
from zktw.config.model import Config
from zktw.quorum.ensemble import Address

SECRET_ENDINGS = ("password", "secret", "superdigest")


def describe(config: Config) -> str:
    """A readable summary, one fact a line; the last lines are what deserves a second look."""
    lines = [f"{config.path} is valid", f"mode: {_mode(config)}"]
    if config.ensemble is not None:
        lines += ["members:"] + [f"  {line}" for line in config.ensemble.text().splitlines()[:-1]]
        kind = "hierarchical" if config.ensemble.groups or config.ensemble.weights else "majority"
        lines.append(f"quorums: {kind} of {len(config.ensemble.voters)} voters")
        init_ms, sync_ms = config.init_limit * config.tick_ms, config.sync_limit * config.tick_ms
        lines.append(f"patience: initLimit {init_ms} ms, syncLimit {sync_ms} ms")
    words = "all" if config.four_letter_words is None else ", ".join(sorted(config.four_letter_words))
    purge = (
        f"every {config.purge_interval_hours} h, {config.purge_retain} kept" if config.purge_interval_hours else "off"
    )
    lines += [
        f"client port: {_client_port(config)}",
        f"four-letter words: {words}",
        f"data: {config.data_dir}/version-2; log: {config.data_log_dir}/version-2",
        f"tick: {config.tick_ms} ms; sessions: {config.min_session_timeout_ms} to {config.max_session_timeout_ms} ms",
        f"purge: {purge}",
    ]
    properties = [
        _setting(key, value)
        for key, value in config.settings.items()
        if key in PROPERTIES and PROPERTIES[key][1] is Effect.WORKS and PROPERTIES[key][0] != value
    ]
    lines += ["properties:", *properties] if properties else []
    for effect, title in (
        (Effect.JVM, "only for a JVM, without effect"),
        (Effect.LATER, "without effect in this release"),
    ):
        named = [_setting(key, value) for key, value in config.settings.items() if effect_of(key) is effect]
        lines += [f"{title}:", *named] if named else []
    if config.unknown:
        lines += ["unknown, kept without effect:"] + [_setting(key, value) for key, value in config.unknown.items()]
    lines += [f"warning: {warning}" for warning in config.warnings]
    return "\n".join(lines)


def _client_port(config: Config) -> str:
    if config.client_port is None:
        return "none"
    address = str(Address(config.client_address or "*", config.client_port))
    if config.client_address.startswith(SYSTEMD):
        address = f"{config.client_port}, opened by systemd ({config.client_address})"
    return f"{address}, at most {config.max_client_cnxns or 'any number of'} connections an address"


def _setting(key: str, value: str) -> str:
    """One indented line; what may be a secret is not shown to whoever looks over a shoulder."""
    secret = key.lower().endswith(SECRET_ENDINGS)
    return f"  {key}={'***' if secret else value}"


def _mode(config: Config) -> str:
    if config.ensemble is None:
        return "standalone"
    return f"{'observer' if config.is_observer else 'voting server'} {config.my_sid} of {len(config.ensemble.members)}"
