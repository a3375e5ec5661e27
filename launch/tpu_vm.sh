#!/usr/bin/env bash
# Trains on a TPU VM slice: one machine or many, the same commands.
#
#   launch/tpu_vm.sh create  --type=v5p-128 --version=v2-alpha-tpuv5 [--spot]
#   launch/tpu_vm.sh install                  this folder's tracked files, and what they need
#   launch/tpu_vm.sh start -- --config=configs/bert.py:large --workdir=gs://BUCKET/RUN
#   launch/tpu_vm.sh logs [--worker=3]        follows a worker's log
#   launch/tpu_vm.sh status                   of each worker
#   launch/tpu_vm.sh stop                     saves a checkpoint and stops
#   launch/tpu_vm.sh restart -- FLAGS         stop, then start
#   launch/tpu_vm.sh watch [--type --version --spot] -- FLAGS
#                    until the run is complete: starts it, starts it again when it was preempted,
#                    and makes the slice again when that is gone. Stops at any other failure.
#   launch/tpu_vm.sh delete
#
# --name, --zone and --project, or TPU_NAME, TPU_ZONE and TPU_PROJECT, say which slice; --type and
# --version, or TPU_TYPE and TPU_VERSION, what kind (gcloud compute tpus accelerator-types list, and
# versions list). Of watch, --every=SECONDS is how often it looks, --restarts=N how often it starts the
# run on a slice that is there (100). --dry_run prints the commands.
# The workdir and the store have to be where all workers see them, such as gs://.
set -euo pipefail
cd "$(dirname "$0")/.."

name=${TPU_NAME-} zone=${TPU_ZONE-} project=${TPU_PROJECT-}
type=${TPU_TYPE-} version=${TPU_VERSION-}
worker=0 every=60 restarts=100 spot=() dry_run=false main_flags=()
command=${1-}

fail() {
  echo "error: $1" >&2
  exit 2
}

parse() {
  while (($#)); do
    case $1 in
      --name=*) name=${1#*=} ;;
      --zone=*) zone=${1#*=} ;;
      --project=*) project=${1#*=} ;;
      --type=*) type=${1#*=} ;;
      --version=*) version=${1#*=} ;;
      --worker=*) worker=${1#*=} ;;
      --every=*) every=${1#*=} ;;
      --restarts=*) restarts=${1#*=} ;;
      --spot) spot=(--spot) ;;
      --dry_run) dry_run=true ;;
      --)
        main_flags=("${@:2}")
        return
        ;;
      *) fail "'$1' is no flag of launch/tpu_vm.sh; flags of plmjax.main come after --" ;;
    esac
    shift
  done
}

need() {
  local variable upper
  for variable in "$@"; do
    upper=$(tr '[:lower:]' '[:upper:]' <<<"$variable")
    [[ -n ${!variable} ]] || fail "--$variable is missing; give it, or set TPU_$upper"
  done
}

run() {
  if $dry_run; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

tpu() {
  run gcloud compute tpus tpu-vm "$1" "$name" "--zone=$zone" "--project=$project" "${@:2}"
}

on_workers() { # which, then a command
  tpu ssh "--worker=$1" "--command=$2"
}

create() {
  need type version
  tpu create "--accelerator-type=$type" "--version=$version" ${spot[@]+"${spot[@]}"}
}

install() {
  local files
  files=$(mktemp -d)/plmjax.tar.gz
  git ls-files -z | tar --null -T - -czf "$files"
  run gcloud compute tpus tpu-vm scp "$files" "$name:plmjax.tar.gz" \
    "--zone=$zone" "--project=$project" --worker=all || return
  # uv brings a Python that is new enough; the machines' own may not be.
  on_workers all "rm -rf plmjax && mkdir plmjax && tar -xzf plmjax.tar.gz -C plmjax && cd plmjax \
&& python3 -m pip install --quiet --user uv && python3 -m uv venv --quiet --python 3.12 .venv \
&& python3 -m uv pip install --quiet --python .venv/bin/python -r requirements.txt 'jax[tpu]'" || return
  rm -rf "$(dirname "$files")"
}

start() {
  ((${#main_flags[@]})) || fail "what to train is missing; end with -- --config=... --workdir=..."
  on_workers all "plmjax/launch/worker.sh start$(printf ' %q' "${main_flags[@]}")"
}

stop() {
  on_workers all "plmjax/launch/worker.sh stop"
}

state_of_slice() {
  tpu describe "--format=value(state)" 2>/dev/null || echo GONE
}

again() {
  if [[ $1 != GONE ]]; then tpu delete --quiet || return; fi
  create && install && start
}

watch() {
  local state said
  need type version
  ((${#main_flags[@]})) || fail "what to train is missing; end with -- --config=... --workdir=..."
  if $dry_run; then
    echo "# every $every s:"
    state_of_slice
    on_workers all "plmjax/launch/worker.sh status"
    echo "# when the run has ended with 75, preempted:"
    start
    echo "# when the slice is gone:"
    again PREEMPTED
    return
  fi
  while true; do
    state=$(state_of_slice)
    case $state in
      READY)
        said=$(on_workers all "plmjax/launch/worker.sh status" 2>/dev/null) || said=unreachable
        echo "$(date -u +%FT%TZ) $state $(sort <<<"$said" | uniq -c | tr -s ' \n' ' ')"
        # 75: preempted. 70: this one was well and ended because another was not, or nothing moved.
        if [[ $said == *running* || $said == unreachable ]]; then
          : # where some have ended and some run, these will end, too
        elif grep -qvxE 'exited (0|70|75)|lost|idle' <<<"$said"; then
          echo "error: the run has failed; launch/tpu_vm.sh logs shows why" >&2
          exit 1
        elif grep -qvx 'exited 0' <<<"$said"; then
          ((restarts-- > 0)) || fail "the run was started --restarts times and has not ended"
          start
        else
          return 0
        fi
        ;;
      CREATING | STARTING | RESTARTING | REPAIRING) echo "$(date -u +%FT%TZ) $state" ;;
      *)
        echo "$(date -u +%FT%TZ) $state: making the slice again"
        again "$state" || echo "that did not work yet; trying again in $every s"
        ;;
    esac
    sleep "$every"
  done
}

parse "${@:2}"
case $command in
  create | install | start | logs | status | stop | restart | watch | delete)
    need name zone project
    ;;
  *) fail "'$command' is no command of launch/tpu_vm.sh; its first lines list them" ;;
esac
case $command in
  logs) on_workers "$worker" "plmjax/launch/worker.sh log" ;;
  status) on_workers all "plmjax/launch/worker.sh status" ;;
  restart)
    stop
    start
    ;;
  delete) tpu delete --quiet ;;
  *) "$command" ;;
esac
