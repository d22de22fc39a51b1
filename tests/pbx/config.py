"""Asterisk's configuration: what the tests need, all on the loopback."""

from __future__ import annotations

from pathlib import Path

from tests.pbx import programs

MODULES = """
codec_ulaw codec_alaw codec_g722 codec_resample format_wav format_sln
pbx_config res_timing_timerfd bridge_simple bridge_softmix
app_playback app_mixmonitor app_dial app_verbose app_senddtmf app_echo
func_channel func_timeout func_uuid res_clioriginate
res_audiosocket app_audiosocket chan_audiosocket
res_http_websocket res_websocket_client chan_websocket
res_pjproject res_pjsip res_pjsip_session res_pjsip_sdp_rtp res_pjsip_caller_id
res_pjsip_endpoint_identifier_ip res_pjsip_endpoint_identifier_user
res_pjsip_endpoint_identifier_anonymous res_pjsip_rfc3326 res_pjsip_dtmf_info res_rtp_asterisk
res_pjsip_pubsub res_pjsip_authenticator_digest chan_pjsip
"""

ASTERISK = """
[directories]
astetcdir => {folder}/etc
astmoddir => {modules}
astvarlibdir => {folder}/lib
astdbdir => {folder}/lib
astkeydir => {folder}/lib
astdatadir => {root}/usr/share/asterisk
astagidir => {folder}/lib
astspooldir => {folder}/spool
astrundir => {folder}/run
astlogdir => {folder}/log
[options]
verbose = 3
nocolor = yes
hideconnect = yes
"""

# Anyone may call any extension over SIP.
PJSIP = """
[udp]
type = transport
protocol = udp
bind = 127.0.0.1:{sip}
[anonymous]
type = endpoint
context = calls
disallow = all
allow = ulaw,alaw
direct_media = no
"""

PLAIN = {
    "logger.conf": "[general]\n[logfiles]\nfull => notice,warning,error,verbose\n",
    "http.conf": "[general]\nenabled = no\n",
    "rtp.conf": "[general]\nrtpstart=20000\nrtpend=29999\n",
    "websocket_client.conf": "#tryinclude clients.d/*.conf\n",
    "extensions.conf": "[calls]\n#tryinclude extensions.d/*.conf\n",
    "indications.conf": "[general]\ncountry=us\n[us]\ndescription=US\nringcadence=2000,4000\n"
    "dial=350+440\nbusy=480+620/500,0/500\nring=440+480/2000,0/4000\n",
    # Their absence would be complained of.
    **dict.fromkeys(
        [
            f"{name}.conf"
            for name in (
                "acl", "ccss", "cdr", "cel", "chan_websocket", "codecs", "features", "manager",
                "pjproject", "stasis", "udptl",
            )
        ],
        "",
    ),
}  # fmt: skip


def write(folder: Path, *, sip: int) -> Path:
    """Write the configuration of an Asterisk that lives in a folder; return its main file.

    Args:
        folder: is made; all that Asterisk writes stays in it.
        sip: the UDP port on which it is called.
    """
    for name in ("etc/extensions.d", "etc/clients.d", "lib", "spool/monitor", "run", "log"):
        (folder / name).mkdir(parents=True)
    early = [f"preload = res_sorcery_{name}.so" for name in ("config", "memory", "astdb")]
    late = [f"load = {name}.so" for name in MODULES.split()]
    places = {
        "folder": folder,
        "root": programs.ROOT,
        "modules": programs.libraries() / "asterisk/modules",
    }
    files = {
        **PLAIN,
        "asterisk.conf": ASTERISK.format(**places),
        "modules.conf": "\n".join(["[modules]", "autoload = no", *early, *late, ""]),
        "pjsip.conf": PJSIP.format(sip=sip),
    }
    for name, text in files.items():
        (folder / "etc" / name).write_text(text)
    return folder / "etc/asterisk.conf"
