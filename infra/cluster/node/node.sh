#!/usr/bin/env bash
# The node: process 1 of its own namespaces of network, mounts, processes, host name
# and IPC. Killing it ends all that runs in them. cluster starts it, with RUN, BIN,
# DEBIAN, DNS, INTERFACE, HOST_IP, NODE_IP, SERVICE_NET, API_IP and TOKEN set.
set -u
export PATH=$BIN:$DEBIAN/usr/bin:$DEBIAN/usr/sbin:$PATH LD_LIBRARY_PATH=$DEBIAN/usr/lib/x86_64-linux-gnu
trap 'exit 0' TERM INT

# The host puts one end of a pair of interfaces in here.
until ip link show "$INTERFACE" >/dev/null 2>&1; do sleep 0.05; done
ip link set lo up
ip addr add "$NODE_IP/24" dev "$INTERFACE"
ip link set "$INTERFACE" up
ip route add default via "$HOST_IP"
echo 1 >/proc/sys/net/ipv4/ip_forward

# Mounts in here are not seen outside; those of containers are seen in here.
mount --make-rprivate /
mount --make-rshared /
mount -t tmpfs tmpfs /run
mkdir -p /run/proc /run/lock /run/sysctl
# The kubelet sets values of the whole machine. It may set those of this network; of
# the others it sees files that have the values that it wants.
mount -t proc proc /run/proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount --bind /run/proc/sys/net /proc/sys/net
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  file=/run/sysctl/${setting%=*}
  mkdir -p "$(dirname "$file")"
  echo "${setting#*=}" >"$file"
  mount --bind "$file" "/proc/sys/${setting%=*}"
done
for folder in kubelet:/var/lib/kubelet log:/var/log; do
  mkdir -p "$RUN/${folder%%:*}" "${folder#*:}"
  mount --bind "$RUN/${folder%%:*}" "${folder#*:}"
done
mount --make-rshared /
hostname m7pulse

start() {
  local name=$1
  shift
  "$@" >"$RUN/logs/$name.log" 2>&1 </dev/null &
}
# etcd without syncing: nothing is to outlive the node.
start etcd etcd --data-dir "$RUN/etcd" --unsafe-no-fsync --log-level warn \
  --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380
start containerd containerd --config "$RUN/containerd.toml"
start apiserver kube-apiserver --etcd-servers http://127.0.0.1:2379 --bind-address 0.0.0.0 --secure-port 6443 --advertise-address "$NODE_IP" \
  --tls-cert-file "$RUN/apiserver.crt" --tls-private-key-file "$RUN/apiserver.key" --client-ca-file "$RUN/ca.crt" --token-auth-file "$RUN/tokens.csv" \
  --service-account-issuer https://kubernetes.default.svc --service-account-signing-key-file "$RUN/accounts.key" --service-account-key-file "$RUN/accounts.key" \
  --service-cluster-ip-range "$SERVICE_NET" --authorization-mode RBAC --allow-privileged --kubelet-preferred-address-types InternalIP --profiling=false
until [ "$(kubectl --kubeconfig "$RUN/kubeconfig" get --raw /readyz 2>/dev/null)" = ok ]; do sleep 0.5; done
start controllers kube-controller-manager --kubeconfig "$RUN/kubeconfig" --bind-address 127.0.0.1 --leader-elect=false \
  --service-account-private-key-file "$RUN/accounts.key" --root-ca-file "$RUN/ca.crt"
start scheduler kube-scheduler --kubeconfig "$RUN/kubeconfig" --bind-address 127.0.0.1 --leader-elect=false
start proxy kube-proxy --config "$RUN/proxy.yaml" --hostname-override m7pulse
start dns "$DNS" "$RUN/kubeconfig" "$NODE_IP:53"
# Its restart is a part of the tests, and the pods outlive it.
while :; do
  kubelet --config "$RUN/kubelet.yaml" --kubeconfig "$RUN/kubeconfig" --hostname-override m7pulse --node-ip "$NODE_IP" >>"$RUN/logs/kubelet.log" 2>&1 </dev/null &
  wait $!
  sleep 1
done
