#!/bin/bash
# Process 1 of a guest that is a container. It makes the container look like an EC2 instance and runs its user data.
#   GUEST_IMDS           address:port of the instance metadata, which is at EC2's own address here
#   GUEST_REGISTRY       address:port of the registry that stands for ECR
#   GUEST_REGISTRY_NAME  the name of ECR in this account, and
#   GUEST_REGISTRY_IP    its address, which nothing else has
#   GUEST_INSECURE       networks whose registries speak plain HTTP
#   GUEST_BIP            address of the bridge of this guest's own engine
#   GUEST_ENGINE         "no": a machine image without Docker
set -u
exec >>/console 2>&1
trap 'exit 0' TERM

[ -f /sys/fs/cgroup/cgroup.controllers ] && mount -o remount,rw /sys/fs/cgroup
turn() { # address, address:port there
  iptables -t nat -A OUTPUT -p tcp -d "$1" --dport 80 -j DNAT --to-destination "$2"
  iptables -A OUTPUT -p tcp -d "$1" --dport 443 -j REJECT --reject-with tcp-reset
}
turn 169.254.169.254 "$GUEST_IMDS"
turn "$GUEST_REGISTRY_IP" "$GUEST_REGISTRY"
echo "$GUEST_REGISTRY_IP $GUEST_REGISTRY_NAME" >>/etc/hosts

if [ "$GUEST_ENGINE" = no ]; then
  rm -f /usr/bin/docker
else
  dockerd --bip "$GUEST_BIP" --insecure-registry "$GUEST_INSECURE" --insecure-registry "$GUEST_REGISTRY_NAME" \
    >/var/log/dockerd.log 2>&1 &
fi

# An AMI's engine is up before its user data runs.
for _ in $(seq 300); do
  [ "$GUEST_ENGINE" = no ] || docker version >/dev/null 2>&1 && break
  sleep 0.1
done
imds=http://169.254.169.254/latest
until token=$(curl -sf -m 2 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' $imds/api/token) &&
  curl -sf -m 2 -H "X-aws-ec2-metadata-token: $token" $imds/user-data >/run/user-data; do
  sleep 0.05
done
# The laptop may end without a goodbye: a guest does not outlive its metadata.
while sleep 5; do
  for try in 1 2 3 4 5 6; do
    curl -s -o /run/answer -m 5 $imds/meta-data/ && break
    sleep 2
    [ "$try" != 6 ] || kill -TERM 1
  done
done &
env -u GUEST_IMDS -u GUEST_REGISTRY -u GUEST_REGISTRY_NAME -u GUEST_REGISTRY_IP -u GUEST_INSECURE -u GUEST_BIP \
  -u GUEST_ENGINE bash /run/user-data &
wait $!
