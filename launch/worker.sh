#!/usr/bin/env bash
# One machine's part of launch/tpu_vm.sh: runs plmjax.main detached from the shell that starts it.
#
#   launch/worker.sh start FLAGS...   starts `python -m plmjax.main FLAGS...`
#   launch/worker.sh status           running, exited CODE, lost (the machine restarted), or idle
#   launch/worker.sh log              follows what the run prints
#   launch/worker.sh stop             asks it to save and stop, and waits for that
#
# PLMJAX_STATE names the folder of log, code and pid (default ~/plmjax-run), PLMJAX_PYTHON the
# interpreter (default .venv/bin/python).
set -euo pipefail
cd "$(dirname "$0")/.."
state=${PLMJAX_STATE:-$HOME/plmjax-run}
python=${PLMJAX_PYTHON:-.venv/bin/python}
patience=${PLMJAX_PATIENCE:-600} # seconds that stop waits

is_running() {
  [[ -f $state/pid && ! -f $state/code ]] || return
  # Not kill -0: it finds zombies, and after a restart another process of that number.
  local found
  found=$(ps -ww -o stat=,args= -p "$(<"$state/pid")") && [[ $found != Z* && $found == *plmjax.main* ]]
}

start() {
  if is_running; then
    echo "error: a run is going on here already; launch/worker.sh stop ends it" >&2
    exit 2
  fi
  mkdir -p "$state"
  rm -f "$state/code" "$state/pid"
  # The trap keeps this shell alive when `stop` signals the group, so that the code is written.
  # shellcheck disable=SC2016
  setsid bash -c 'trap : TERM; state=$1 python=$2; shift 2
    echo $$ >"$state/pid"
    "$python" -m plmjax.main "$@" >>"$state/log" 2>&1
    echo $? >"$state/code"' run "$state" "$python" "$@" </dev/null >/dev/null 2>&1 &
  until [[ -s $state/pid ]]; do sleep 0.1; done
  echo started
}

stop() {
  if is_running; then
    kill -TERM -- "-$(<"$state/pid")"
    for ((second = 0; second < patience; second++)); do
      is_running || break
      sleep 1
    done
  fi
  status
}

status() {
  if [[ -f $state/code ]]; then
    echo "exited $(<"$state/code")"
  elif is_running; then
    echo running
  elif [[ -f $state/pid ]]; then
    echo lost
  else
    echo idle
  fi
}

case ${1-} in
  start) start "${@:2}" ;;
  stop) stop ;;
  status) status ;;
  log) tail -n 100 -F "$state/log" ;;
  *)
    echo "error: '${1-}' is no command of launch/worker.sh; give start, status, log or stop" >&2
    exit 2
    ;;
esac
