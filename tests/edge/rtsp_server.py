"""A camera on the network: an RTSP server of GStreamer that shows colour bars as H.264.

Runs in the Python of the distribution, whose packages gir1.2-gst-rtsp-server-1.0, python3-gi and
gstreamer1.0-plugins-{good,bad} it needs: `python3 rtsp_server.py PORT PASSWORD`. Prints a line when it
listens; stands still while it is sent SIGSTOP, as a camera does that has hung up itself.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PICTURES = "videotestsrc is-live=true pattern=smpte ! video/x-raw,width=320,height=240,framerate=10/1 ! "
CODED = "openh264enc gop-size=10 ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=1"


def main(port: str, password: str) -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer(address="127.0.0.1", service=port)
    factory = GstRtspServer.RTSPMediaFactory(shared=True)
    factory.set_launch(f"( {PICTURES}{CODED} )")
    if password:
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic("camera", password), token)
        server.set_auth(auth)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("viewer", "media.factory.access", True)
        permissions.add_permission_for_role("viewer", "media.factory.construct", True)
        factory.set_permissions(permissions)
    server.get_mount_points().add_factory("/live", factory)
    if not server.attach(None):
        sys.exit("it cannot listen")
    print("listening", flush=True)
    GLib.MainLoop().run()


main(*sys.argv[1:])
