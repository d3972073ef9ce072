# shellcheck shell=bash
# Runs the parts of a long script, some beside others, and says how long each
# took. Sourced, after lib.sh.

# What parts leave for the end: what they printed, and the names of those that
# failed or took longer than they should.
work=$(mktemp -d)
lanes=()

# leave ends what still runs: each lane is a group of processes.
leave() {
	for lane in "${lanes[@]}"; do kill -TERM -- "-$lane" 2>/dev/null || true; done
	wait
	rm -rf "$work"
}
trap leave EXIT
trap 'exit 130' INT TERM HUP

# part NAME MINUTES COMMAND...: runs it, and then prints what it said, since
# another part may run beside it. A failure is reported at the end. More time
# than its budget is only a warning: the machine may have been busy.
part() {
	local name=$1 budget=$(($2 * 60)) began=$SECONDS status=0 took log
	shift 2
	log=$(mktemp "$work/log.XXXXXX")
	say "== $name: begins"
	"$@" >"$log" 2>&1 || status=$?
	took=$((SECONDS - began))
	cat "$log" >&2
	if [ "$status" -ne 0 ]; then
		say "== $name: FAILED, $took s"
		printf '%s\n' "$name" >>"$work/failed"
	elif [ "$took" -gt "$budget" ]; then
		say "== $name: ok, $took s: longer than its budget of $budget s"
		printf '%s (%s s of %s)\n' "$name" "$took" "$budget" >>"$work/late"
	else
		say "== $name: ok, $took s"
	fi
}

# lane FUNCTION: runs its parts one after the other, beside other lanes.
lane() {
	set -m # a group of processes of its own
	"$1" &
	lanes+=("$!")
	set +m
}

# together waits for all lanes.
together() {
	local lane
	for lane in "${lanes[@]}"; do
		wait "$lane" || printf '%s\n' "a lane of parts was broken off" >>"$work/failed"
	done
	lanes=()
}

# conclude says what was late, and fails if a part failed.
conclude() {
	if [ -s "$work/late" ]; then
		say "warning: longer than the budget, which a busy machine may explain:"
		sed 's/^/  /' "$work/late" >&2
	fi
	if [ -s "$work/failed" ]; then
		die "failed: $(paste -sd, "$work/failed" | sed 's/,/, /g')"
	fi
	say "all passed, $SECONDS s"
}
