#!/bin/sh
# Installs this device on Raspberry Pi OS or Debian, bookworm or newer, 64-bit. `./install.sh --help` tells more.
set -eu
umask 022

here=$(cd "$(dirname "$0")" && pwd)
home=/opt/tinyml
etc=/etc/tinyml
state=/var/lib/tinyml
unit=tinyml-edge
unit_file=/etc/systemd/system/$unit.service
rules_file=/etc/udev/rules.d/70-tinyml.rules
journal_file=/etc/systemd/journald.conf.d/tinyml.conf
command=/usr/local/bin/tinyml
python=${TINYML_PYTHON:-python3}
room_mb=400 # what a release takes while it is being installed

usage() {
  cat <<'USAGE'
usage: sudo ./install.sh --device NAME --bundle FILE [option ...]    install, or update what is installed
       sudo ./install.sh --uninstall [--purge]
       ./install.sh --fetch-wheels DIR [--for-python 3.11] [--for-machine aarch64]

Makes this machine a device that starts with it, restarts when it fails, and may do nothing but its work. Run it again
at any time: what is as it should be stays untouched, and a settings file that you have edited stays yours.

  --device NAME         name of this device: lower-case letters, digits and hyphens (the first time)
  --bundle FILE         the bundle it runs, made by `tinyml bundle build` (the first time, and to replace it)
  --broker URL          the MQTT broker, such as mqtts://broker.example:8883; without one the device works alone
  --username NAME       user name for the broker, if it is not the name of the device
  --password-file FILE  file whose first line is the password for the broker; - reads it from standard input
  --ca-file FILE        certificate authorities to trust, instead of the system's
  --camera SOURCE       where pictures come from; default: /dev/video0 (all kinds: tinyml edge run --help)
  --mode MODE           autonomous, monitor, validated or managed; default: autonomous without a broker, else validated

  --wheels DIR          install Python packages from DIR alone, which --fetch-wheels has filled; needs no network
  --system-packages     let the device use Python packages of the system too; on by itself for a camera picamera2
  --no-apt              install no Debian package; say what is missing instead
  --log-to-ram          keep the system's log in RAM, to spare the SD card
  --no-start            install everything, start nothing
  --dry-run             only say what would be done

  --uninstall           remove program, service and rules; settings and what the device has learned stay
  --purge               with --uninstall: remove these too, and the user
  --fetch-wheels DIR    fill DIR with the Python packages a device needs; on any machine with a network, no root

Settings and bundle are in /etc/tinyml, with the password in edge.env; what the device learns is in /var/lib/tinyml,
the program in /opt/tinyml. Its log: journalctl -u tinyml-edge
USAGE
}

say() { printf 'tinyml: %s\n' "$*"; }
fail() {
  printf 'install.sh: %s\n' "$*" >&2
  exit 1
}

# ---- arguments -------------------------------------------------------------------------------------------------

device='' bundle='' broker='' username='' password_file='' ca_file='' camera='' mode=''
wheels='' system='' apt=yes log_to_ram='' start=yes dry='' action=install purge='' fetch=''
for_python='' for_machine=aarch64 given=''

while [ $# -gt 0 ]; do
  case $1 in
    --*=*)
      option=$1
      shift
      set -- "${option%%=*}" "${option#*=}" "$@"
      ;;
  esac
  case $1 in
    --device | --bundle | --broker | --username | --password-file | --ca-file | --camera | --mode | --wheels | \
      --fetch-wheels | --for-python | --for-machine)
      [ $# -ge 2 ] || fail "$1 needs a value; ./install.sh --help tells more"
      ;;
  esac
  case $1 in
    --device) device=$2 given=yes; shift ;;
    --bundle) bundle=$2; shift ;;
    --broker) broker=$2 given=yes; shift ;;
    --username) username=$2 given=yes; shift ;;
    --password-file) password_file=$2; shift ;;
    --ca-file) ca_file=$2 given=yes; shift ;;
    --camera) camera=$2 given=yes; shift ;;
    --mode) mode=$2 given=yes; shift ;;
    --wheels) wheels=$2; shift ;;
    --system-packages) system=yes ;;
    --no-apt) apt='' ;;
    --log-to-ram) log_to_ram=yes ;;
    --no-start) start='' ;;
    --dry-run) dry=yes ;;
    --uninstall) action=uninstall ;;
    --purge) purge=yes ;;
    --fetch-wheels) action=fetch fetch=$2; shift ;;
    --for-python) for_python=$2; shift ;;
    --for-machine) for_machine=$2; shift ;;
    -h | --help) usage; exit 0 ;;
    *) fail "there is no option $1; ./install.sh --help lists them" ;;
  esac
  shift
done
[ -z "$purge" ] || [ "$action" = uninstall ] || fail "--purge goes with --uninstall"

# ---- doing, or saying what would be done -----------------------------------------------------------------------

changes=0
restart=''

does() { # does WHAT COMMAND...: one change of the machine
  changes=$((changes + 1))
  if [ -n "$dry" ]; then
    say "would: $1"
  else
    say "$1"
    shift
    "$@"
  fi
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

put() { # put FILE MODE SOURCE: the file gets this content and mode, all or nothing; says in $wrote whether it had to
  wrote=''
  if [ -f "$1" ] && cmp -s "$3" "$1" && [ "$(stat -c %a:%U "$1")" = "${2#0}:root" ]; then return; fi
  wrote=yes
  does "writes $1" put_now "$@"
}
put_now() {
  mkdir -p "$(dirname "$1")"
  install -m "$2" -o root -g root "$3" "$1.new"
  sync "$1.new"
  mv "$1.new" "$1"
}

gone() { # gone PATH...: removes what is there
  for path; do
    if [ -e "$path" ] || [ -L "$path" ]; then does "removes $path" rm -rf "$path"; fi
  done
}

systemd() { [ -d /run/systemd/system ]; }

now() { # now COMMAND...: tells the running system, where there is one and this is no dry run
  if systemd && [ -z "$dry" ]; then "$@"; fi
}

# ---- packages for a machine without a network ------------------------------------------------------------------

fetch_wheels() {
  for_python=${for_python:-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')}
  set -- --platform "manylinux2014_$for_machine"
  for glibc in $(seq 17 36); do set -- "$@" --platform "manylinux_2_${glibc}_$for_machine"; done # 2.36 is bookworm's
  say "fetching packages for Python $for_python on $for_machine into $fetch"
  meant_for >"$work/requirements.txt"
  "$python" -m pip download --quiet --disable-pip-version-check --dest "$fetch" --no-deps --require-hashes \
    --only-binary :all: --implementation cp --python-version "$for_python" "$@" -r "$work/requirements.txt" ||
    fail "the packages could not be fetched; what pip says is above"
  say "done; copy $fetch to the device, and give it to install.sh as --wheels"
}
meant_for() { # the requirements of that Python; pip itself asks the one it runs on which lines are meant
  "$python" - "$here/requirements/edge.txt" "$for_python" "$for_machine" <<'PYTHON'
import sys
from pip._vendor.packaging.markers import Marker

path, version, machine = sys.argv[1:]
there = {"python_version": version, "python_full_version": version + ".0", "platform_machine": machine,
         "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "implementation_name": "cpython"}
for item in open(path).read().replace("\\\n", " ").splitlines():
    wanted, _, rest = item.partition(" ; ")
    marker, _, hashes = rest.partition("--hash=")
    if not marker:
        print(item)
    elif Marker(marker).evaluate(there):
        print(wanted, "--hash=" + hashes)
PYTHON
}

# ---- checks ----------------------------------------------------------------------------------------------------

check_arguments() {
  case $device in
    *[!a-z0-9-]* | -*) fail "a device cannot be called '$device': lower-case letters, digits and hyphens are allowed" ;;
  esac
  [ -z "$bundle" ] || [ -r "$bundle" ] || fail "the bundle $bundle cannot be read"
  [ -z "$wheels" ] || [ -d "$wheels" ] || fail "there is no folder $wheels with packages; --fetch-wheels makes one"
  [ -z "$ca_file" ] || [ -r "$ca_file" ] || fail "the certificates $ca_file cannot be read"
  case $mode in '' | autonomous | monitor | validated | managed) ;; *) fail "there is no mode '$mode'" ;; esac
  case $camera in
    /home/* | /root/* | /tmp/* | /var/tmp/*)
      fail "the service cannot see $camera: /home, /root and /tmp are closed to it; /srv is a good place for pictures"
      ;;
  esac
  case $password_file in
    '' | -) ;;
    *) [ -r "$password_file" ] || fail "the password file $password_file cannot be read" ;;
  esac
  case "$device$broker$username$ca_file$camera" in
    *[[:cntrl:]]*) fail "a value holds a control character or a line break" ;;
  esac
}

check_machine() {
  [ -f /etc/debian_version ] || fail "this is not Debian or Raspberry Pi OS"
  [ "$(getconf LONG_BIT)" = 64 ] ||
    fail "this system is 32-bit; the model runtime needs 64-bit Raspberry Pi OS: flash the card again with that"
  if [ -n "$dry" ]; then return; fi
  [ "$(id -u)" = 0 ] || fail "this needs root: sudo ./install.sh ..."
}

check_first_time() {
  if [ ! -f "$etc/edge.toml" ]; then
    [ -n "$device" ] || fail "a name is needed the first time: --device NAME"
    [ -n "$bundle" ] || fail "a bundle is needed the first time: --bundle FILE (made by: tinyml bundle build)"
  elif [ ! -f "$etc/edge.bundle" ]; then
    [ -n "$bundle" ] || fail "there is no bundle on this machine yet: --bundle FILE"
  fi
}

# ---- the steps -------------------------------------------------------------------------------------------------

debian_packages() {
  need=''
  case ${camera:-$(known camera)} in
    picamera2* | libcamera*) # it is no package of PyPI, but comes with Raspberry Pi OS
      system=yes
      /usr/bin/python3 -c 'import picamera2' 2>/dev/null || need="python3-picamera2"
      ;;
  esac
  command -v "$python" >/dev/null 2>&1 || need="python3 $need"
  "$python" -c 'import ensurepip, venv' 2>/dev/null || need="python3-venv $need"
  need=${need% }
  if [ -n "$need" ]; then
    [ -n "$apt" ] || fail "Debian packages are missing: apt install $need"
    does "installs the Debian packages $need" apt_install
  fi
  command -v "$python" >/dev/null 2>&1 || return 0 # a dry run
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "Python 3.11 or newer is needed, this is $("$python" -V): Raspberry Pi OS bookworm or newer has it"
}
apt_install() {
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086  # several words on purpose
  apt-get -qq install -y --no-install-recommends $need >/dev/null 2>&1 ||
    { apt-get -qq update && apt-get -qq install -y --no-install-recommends $need >/dev/null; } ||
    fail "apt could not install $need; what it says is above"
}

account() {
  getent passwd tinyml >/dev/null || does "makes the user tinyml" useradd --system --user-group \
    --home-dir "$state" --no-create-home --shell /usr/sbin/nologin tinyml
  case " $(id -nG tinyml 2>/dev/null) " in
    *" video "*) ;;
    *) does "puts tinyml into the group video" usermod --append --groups video tinyml ;;
  esac
}

sources() { find broker edge_actors -type f ! -path '*/__pycache__/*' | LC_ALL=C sort; }

fingerprint() { # what a release is made of: our code, its packages, this Python
  (
    cd "$here"
    sources | tr '\n' '\0' | xargs -0 sha256sum
    sha256sum requirements/edge.txt
    "$python" -VV 2>/dev/null || true
    echo "$system"
  ) | sha256sum | cut -c1-12
}

program() {
  [ -n "$system" ] || ! grep -qs '^include-system-site-packages = true' "$home/current/pyvenv.cfg" || system=yes
  id=$(fingerprint)
  release=$home/releases/$id
  if [ ! -f "$release/complete" ]; then
    does "installs the program into $release (takes minutes on a small device)" new_release
  fi
  if [ "$(readlink "$home/current" 2>/dev/null)" != "releases/$id" ]; then
    before=$(basename "$(readlink "$home/current" 2>/dev/null || true)")
    does "switches to release $id" switch_release
    restart=yes
    for old in "$home"/releases/*; do # the one before stays, to go back to
      case $(basename "$old") in "$id" | "$before" | '*') ;; *) gone "$old" ;; esac
    done
  fi
  [ "$(readlink "$command" 2>/dev/null)" = "$home/current/bin/tinyml" ] ||
    does "makes the command $command" ln -sfn "$home/current/bin/tinyml" "$command"
}
new_release() {
  mkdir -p "$home/releases"
  free=$(df -Pm "$home" | awk 'NR == 2 { print $4 }')
  [ "$free" -ge "$room_mb" ] || fail "$home has $free MB left; $room_mb MB are needed"
  rm -rf "$release"
  set --
  [ -z "$system" ] || set -- --system-site-packages
  "$python" -m venv "$@" "$release" || fail "$python cannot make a virtual environment in $release"
  mkdir "$release/tmp" # /tmp may be in RAM, of which there is little
  set --
  if [ -n "$wheels" ]; then set -- --no-index --find-links "$wheels"; fi
  say "  fetching and unpacking the packages of requirements/edge.txt"
  TMPDIR=$release/tmp "$release/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir \
    --require-hashes --only-binary :all: --ignore-installed "$@" -r "$here/requirements/edge.txt" ||
    fail "the packages could not be installed; without a network: --wheels DIR (see --fetch-wheels)"
  say "  copying the program"
  library=$("$release/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  (cd "$here" && sources | tar -cf - -T -) | tar -C "$library" --no-same-owner -xf -
  "$release/bin/python" -m compileall -q "$library/broker" "$library/edge_actors"
  printf '%s\n' "#!$release/bin/python -I" 'import sys' '' 'from broker.cli import main' '' 'sys.exit(main())' \
    >"$release/bin/tinyml"
  chmod 755 "$release/bin/tinyml"
  "$release/bin/tinyml" graph >/dev/null || fail "the program does not run; what it says is above"
  rm -rf "$release/tmp"
  sync
  : >"$release/complete"
}
switch_release() {
  ln -sfn "releases/$id" "$home/current.new"
  mv -T "$home/current.new" "$home/current"
}

camera_library() {
  case ${camera:-$(known camera)} in
    picamera2* | libcamera*)
      [ -n "$dry" ] || "$home/current/bin/python" -c 'import picamera2' ||
        fail "the installed program cannot load picamera2; the reason is above. On bookworm it usually is simplejpeg" \
          "made for an older NumPy: $home/current/bin/python -m pip install 'simplejpeg>=1.8', then run this again"
      ;;
  esac
}

the_bundle() {
  [ -n "$bundle" ] || return 0
  ! cmp -s "$bundle" "$etc/edge.bundle" || return 0
  if [ -x "$home/current/bin/tinyml" ] && [ -z "$dry" ]; then
    "$home/current/bin/tinyml" bundle verify "$bundle" || fail "the bundle $bundle stays out; the reason is above"
  fi
  put "$etc/edge.bundle" 0644 "$bundle"
  restart=yes
}

quoted() { printf '"%s"' "$(printf '%s' "$1" | sed 's/[\\"]/\\&/g')"; }
known() { # known NAME: its value in the settings file that this script wrote
  sed -n "s/^$1 = \"\(.*\)\"\$/\1/p" "$etc/edge.toml" 2>/dev/null | sed 's/\\\(.\)/\1/g' | head -n 1
}
line() { if [ -n "$2" ]; then printf '%s = %s\n' "$1" "$(quoted "$2")"; fi; }

settings() {
  if [ -f "$etc/edge.toml" ] && ! cmp -s "$etc/edge.toml" "$etc/.edge.toml.written"; then
    if [ -n "$given" ]; then say "note: $etc/edge.toml was edited and stays as it is; change it there"; fi
    return 0
  fi
  device=${device:-$(known device)}
  broker=${broker:-$(known broker)}
  username=${username:-$(known username)}
  ca_file=${ca_file:-$(known ca_file)}
  camera=${camera:-$(known camera)}
  camera=${camera:-/dev/video0}
  mode=${mode:-$(known mode)}
  if [ -z "$mode" ] || { [ "$mode" = autonomous ] && [ -n "$broker" ] && [ -z "$(known broker)" ]; }; then
    if [ -n "$broker" ]; then mode=validated; else mode=autonomous; fi
  fi
  {
    echo "# Settings of this device, written by install.sh. Once you edit this file it is yours: install.sh leaves it alone."
    echo "# All settings with their meaning: tinyml edge run --help. After a change: sudo systemctl restart $unit"
    line device "$device"
    line bundle "$etc/edge.bundle"
    line state_dir "$state"
    line camera "$camera"
    line mode "$mode"
    line broker "$broker"
    line username "$username"
    line ca_file "$ca_file"
  } >"$work/edge.toml"
  put "$etc/edge.toml" 0644 "$work/edge.toml"
  if [ -n "$wrote" ]; then
    restart=yes
    [ -n "$dry" ] || cp "$etc/edge.toml" "$etc/.edge.toml.written"
  fi
}

secrets() {
  if [ -n "$password_file" ]; then
    if [ "$password_file" = - ]; then IFS= read -r password; else IFS= read -r password <"$password_file" || true; fi
    [ -n "$password" ] || fail "the password file holds no password"
    grep -sv '^TINYML_EDGE_PASSWORD=' "$etc/edge.env" >"$work/edge.env" || true
    printf 'TINYML_EDGE_PASSWORD=%s\n' "$(quoted "$password")" >>"$work/edge.env"
    put "$etc/edge.env" 0600 "$work/edge.env"
    if [ -n "$wrote" ]; then restart=yes; fi
  elif [ ! -f "$etc/edge.env" ]; then
    echo '# TINYML_EDGE_PASSWORD="the password for the broker"' >"$work/edge.env"
    put "$etc/edge.env" 0600 "$work/edge.env"
  elif [ "$(stat -c %a:%U "$etc/edge.env")" != 600:root ]; then
    does "closes $etc/edge.env to everybody else" close_secrets
  fi
}
close_secrets() { chown root:root "$etc/edge.env" && chmod 600 "$etc/edge.env"; }

system_files() {
  put "$unit_file" 0644 "$here/install/$unit.service"
  if [ -n "$wrote" ]; then
    restart=yes
    now systemctl daemon-reload
  fi
  put "$rules_file" 0644 "$here/install/70-tinyml.rules"
  if [ -n "$wrote" ] && [ -S /run/udev/control ]; then # none in a container
    now udevadm control --reload
    now udevadm trigger
  fi
  if [ -n "$log_to_ram" ]; then
    put "$journal_file" 0644 "$here/install/journald.conf"
    if [ -n "$wrote" ]; then now systemctl restart systemd-journald; fi
  fi
  if [ -f /sys/fs/cgroup/cgroup.controllers ] && ! grep -qw memory /sys/fs/cgroup/cgroup.controllers; then
    say "note: this kernel does not limit memory; 'cgroup_enable=memory' in /boot/firmware/cmdline.txt makes it do so"
  fi
}

service() {
  if [ -z "$start" ]; then
    say "not started; when you want it: sudo systemctl enable --now $unit"
  elif ! systemd; then
    if [ -z "$dry" ]; then say "note: systemd does not run here, so nothing was started"; fi
  else
    systemctl --quiet is-enabled "$unit" 2>/dev/null || does "starts with the machine from now on" \
      systemctl --quiet enable "$unit"
    if [ -n "$restart" ] || ! systemctl --quiet is-active "$unit"; then
      does "starts the device" started
    fi
  fi
}
started() {
  systemctl restart "$unit" && return
  journalctl --no-pager --lines 15 --unit "$unit" >&2 || true
  fail "the device does not start; the reason is above. It is tried again every 10 s; to stop that: systemctl stop $unit"
}

install_device() {
  check_arguments
  check_machine
  check_first_time
  debian_packages
  account
  program
  camera_library
  the_bundle
  settings
  secrets
  system_files
  service
  if [ "$changes" = 0 ]; then
    say "everything is as it should be; nothing changed"
  elif [ -n "$dry" ]; then
    say "nothing was changed: this was a dry run"
  else
    say "done. How it goes: systemctl status $unit; its log: journalctl -u $unit -f"
  fi
}

uninstall() {
  check_machine
  if systemd && [ -e "$unit_file" ]; then
    does "stops the device" systemctl --quiet disable --now "$unit"
  fi
  gone "$unit_file" "$rules_file" "$journal_file" "$home"
  if [ -L "$command" ]; then gone "$command"; fi
  if [ -n "$purge" ]; then
    gone "$etc" "$state"
    if getent passwd tinyml >/dev/null; then does "removes the user tinyml" userdel tinyml; fi
  elif [ -e "$etc" ] || [ -e "$state" ]; then
    say "settings in $etc and what was learned in $state stay; --uninstall --purge removes them"
  fi
  now systemctl daemon-reload
  if [ "$changes" = 0 ]; then say "nothing of the device was here"; fi
}

case $action in
  install) install_device ;;
  uninstall) uninstall ;;
  fetch) fetch_wheels ;;
esac
