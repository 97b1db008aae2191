# The life of one EC2 machine, complete in itself: any image with systemd, curl and Docker runs it. Lines before these,
# which the template writes, name the stack's parts. Every way out powers the machine off, and its shutdown behaviour
# is "terminate". Every process of the machine can read this text: nothing in it is secret.
# shellcheck disable=SC2317,SC2016  # functions are called by name; the timer's text is for its own shell
set -u
export LC_ALL=C
work=${FLEET_WORK_DIR:-/var/lib/runner-fleet}
imds=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}
imds=${imds%/}
export FLEET_WORK_DIR=$work FLEET_DEAD_MAN=$work/until
export DOCKER_CONFIG=$work/login # the registry's password, until the image is here

off() {
  trap '' TERM INT HUP
  trap - EXIT
  poweroff || poweroff -f
}
trap off EXIT
trap 'exit 143' TERM INT HUP

# ---- The dead-man timer: within this time the agent must learn how long the machine may live, and write that (epoch
# seconds) to the file. Nothing that happens to this shell or to the agent stops the timer: it has its own session, and
# keeps the last time that it read when the file is gone.
mkdir -p "$work"
deadline=$(($(date +%s) + ${FLEET_DEAD_MAN_S:-3600}))
echo "$deadline" >"$FLEET_DEAD_MAN"
setsid bash -c '
  until=$2
  while read -r next <"$0" && until=$next; [ "$(date +%s)" -lt "$until" ]; do sleep "$1"; done
  poweroff -f
' "$FLEET_DEAD_MAN" "${FLEET_DEAD_MAN_EVERY_S:-5}" "$deadline" </dev/null >/dev/null 2>&1 &

# The agent of ECS would take the machine for its own. Its unit starts after this script: its start is called off.
timeout 20 systemctl disable --now --no-block ecs >/dev/null 2>&1
timeout 20 systemctl start --no-block docker >/dev/null 2>&1

say() { echo "runner-fleet at $EPOCHREALTIME: $*"; }
say "$(uname -m), $(uname -r)"

# again TRIES COMMAND: run it until it succeeds, with a longer wait each time.
again() {
  local left=$1 wait=${FLEET_RETRY_S:-1}
  shift
  until "$@"; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || return 1
    sleep "$wait"
    wait=$((wait * 2))
  done
}

# ---- AWS without its command line. Keys and tokens go to curl by its standard input: arguments show in /proc.
# field NAME: the text of a JSON answer's field.
field() { sed -n "s/.*\"$1\" *: *\"\([^\"]*\)\".*/\1/p" | head -n 1; }

metadata() { # the text at a path of the instance metadata
  printf 'header = "X-aws-ec2-metadata-token: %s"\n' "$token" |
    curl -sSf -m 5 --noproxy '*' -K - "$imds/latest/meta-data/$1"
}

identity() {
  token=$(curl -sSf -m 5 --noproxy '*' -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 21600' \
    "$imds/latest/api/token") || return 1
  local role keys
  machine=$(metadata instance-id) || return 1
  role=$(metadata iam/security-credentials/) || return 1
  keys=$(metadata "iam/security-credentials/$role") || return 1
  key=$(field AccessKeyId <<<"$keys") secret=$(field SecretAccessKey <<<"$keys") session=$(field Token <<<"$keys")
  [ -n "$key" ]
}

call() { # service, region, address, version of the protocol, operation, body: the answer of AWS
  printf 'user = "%s:%s"\nheader = "x-amz-security-token: %s"\n' "$key" "$secret" "$session" |
    curl -sS --fail-with-body -m 20 -K - --aws-sigv4 "aws:amz:$2:$1" -H "Content-Type: application/x-amz-json-$4" \
      -H "X-Amz-Target: $5" -d "$6" "$3"
}

# fail WHY: leave a report in this machine's mailbox (its shape: fleet/machine/mailbox.py), and end.
fail() {
  local at why sets names values
  say "$1"
  at=$(date -u +%Y-%m-%dT%H:%M:%SZ)
  why=$(printf %s "$1" | tr -c '[:print:]' ' ' | cut -c1-280 | sed 's/[\\"]/\\&/g')
  sets='SET #a=:a,#s=:s,#o=:o,#d=:d,#t=:t,#l=list_append(if_not_exists(#l,:none),:l) ADD #b :one'
  names='"#a":"heartbeat_at","#s":"state","#o":"outcome","#d":"detail","#t":"ttl","#l":"steps","#b":"beats"'
  values='":a":{"S":"'$at'"},":s":{"S":"done"},":o":{"S":"system_failure"},":d":{"S":"'$why'"},
    ":t":{"N":"'$(($(date +%s) + 604800))'"},":none":{"L":[]},":one":{"N":"1"},":l":{"L":[{"M":{
    "at":{"S":"'$at'"},"step":{"S":"boot_failed"},"detail":{"S":"'$why'"}}}]}'
  again 4 call dynamodb "$AWS_REGION" "${AWS_ENDPOINT_URL:-https://dynamodb.$AWS_REGION.$FLEET_URL_SUFFIX}" 1.0 \
    DynamoDB_20120810.UpdateItem '{"TableName":"'"$FLEET_MAILBOX_TABLE"'","UpdateExpression":"'"$sets"'",
    "Key":{"pk":{"S":"'"$FLEET_ROLE_ID:$machine"'"},"sk":{"S":"report"}},
    "ExpressionAttributeNames":{'"$names"'},"ExpressionAttributeValues":{'"$values"'}}' >/dev/null
  exit 1
}

if ! curl --help all 2>/dev/null | grep -q -- --aws-sigv4; then
  say "this machine image has no curl with --aws-sigv4, which is in 7.76 and later"
  exit 1
fi
if ! again 6 identity; then
  say "the instance metadata gives this machine no identity"
  exit 1
fi

# ---- The engine, and the agent's image by its digest
case $(uname -m) in
  aarch64 | arm64) image=$FLEET_IMAGE_ARM64 ;;
  *) image=$FLEET_IMAGE_X86_64 ;;
esac
export FLEET_IMAGE=$image # it is the jobs' helper image as well
[ -n "$image" ] || fail "the stack names no image for $(uname -m) machines: build one with runner-fleet image build"
command -v docker >/dev/null || fail "this machine image has no Docker"

engine_answers() { timeout 10 docker version >/dev/null 2>&1; }
for _ in $(seq "${FLEET_ENGINE_TRIES:-300}"); do
  engine_answers && break
  sleep 0.2
done
engine_answers || fail "the Docker engine does not answer: $(timeout 10 docker version 2>&1 | tail -n 1)"

registry=${image%%/*}
login() {
  local home=${registry#*.dkr.ecr.} password
  [ "$home" != "$registry" ] || return 0 # a registry of others must be public
  problem=$(call ecr "${home%%.*}" "${AWS_ENDPOINT_URL:-https://api.ecr.$home}" 1.1 \
    AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken '{}' 2>&1) || return 1
  password=$(field authorizationToken <<<"$problem")
  (umask 077 && mkdir -p "$DOCKER_CONFIG" &&
    printf '{"auths":{"%s":{"auth":"%s"}}}' "$registry" "$password" >"$DOCKER_CONFIG/config.json")
}
pull() {
  login && problem=$(timeout 600 docker pull "$image" 2>&1) && return
  problem=$(tail -n 1 <<<"$problem")
  say "pull failed: $problem"
  return 1
}
problem=
say "pulls $image"
if ! docker image inspect "$image" >/dev/null 2>&1; then # a baked machine image has it
  again 5 pull || fail "the image cannot be pulled: $problem"
fi
say "has the image"
rm -rf "$DOCKER_CONFIG"
unset key secret session

# ---- The agent. A job of the docker executor is a container beside it; a shell job is inside it, without the engine.
options=(--name runner-fleet-agent --network host --restart no --log-opt max-size=10m --volume "$work:$work")
for name in $(compgen -e); do
  case $name in
    AWS_* | FLEET_* | *_PROXY | *_proxy) options+=(--env "$name") ;;
  esac
done
if [ "$(metadata tags/instance/runner-fleet:executor 2>/dev/null)" != shell ]; then
  options+=(--volume /var/run/docker.sock:/var/run/docker.sock --read-only --tmpfs /tmp)
  options+=(--cap-drop ALL --security-opt no-new-privileges)
fi
docker run "${options[@]}" "$image" > >(tee "$work/agent.log") 2>&1 &
wait $!
code=$?
[ "$code" = 0 ] && exit
sleep 0.2 # tee writes the last lines
last=$(tail -n 1 "$work/agent.log")
again 3 identity
case $code in
  125 | 126 | 127) fail "the agent cannot start: $last" ;;
  *) fail "the agent ended with code $code: $last" ;;
esac
