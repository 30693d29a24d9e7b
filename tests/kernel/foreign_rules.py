# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The rules of other programs, in the form in which these programs load them.

kube-proxy has the Service ``default/echo``, UDP port 53 of 10.244.255.10 and NodePort 30053 to the Pod 10.244.0.2, and
the Service ``default/far`` with an endpoint outside the cluster, 10.0.1.21. Its text is what kube-proxy 1.29 passes to
``iptables-restore --noflush`` (the chains have the name of the Service instead of its hash; the jumps and KUBE-FIREWALL
of kubelet, which are created one by one, are included), and what 1.31 passes to nft in nftables mode. That of Docker is
the output of ``iptables-save`` after dockerd 20.10 started on a host that did not forward before. That of firewalld 1.3
is the part of its table that filters packets, with the zone that the warning of the collection recommends.
"""

from __future__ import annotations

KUBE_IPTABLES = """\
*filter
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-FIREWALL - [0:0]
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" \
-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" \
-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-EXT-ECHO - [0:0]
:KUBE-SVC-ECHO - [0:0]
:KUBE-SEP-ECHO - [0:0]
:KUBE-SVC-FAR - [0:0]
:KUBE-SEP-FAR - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-NODEPORTS -m comment --comment default/echo -m udp -p udp --dport 30053 -j KUBE-EXT-ECHO
-A KUBE-EXT-ECHO -m comment --comment "masquerade traffic for default/echo external destinations" -j KUBE-MARK-MASQ
-A KUBE-EXT-ECHO -j KUBE-SVC-ECHO
-A KUBE-SERVICES -m comment --comment "default/echo cluster IP" -m udp -p udp -d 10.244.255.10 --dport 53 \
-j KUBE-SVC-ECHO
-A KUBE-SERVICES -m comment --comment "default/far cluster IP" -m udp -p udp -d 10.244.255.11 --dport 53 -j KUBE-SVC-FAR
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" \
-m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-SVC-ECHO -m comment --comment "default/echo cluster IP" -m udp -p udp ! -s 10.244.0.0/16 -d 10.244.255.10 \
--dport 53 -j KUBE-MARK-MASQ
-A KUBE-SVC-ECHO -m comment --comment "default/echo -> 10.244.0.2:53" -j KUBE-SEP-ECHO
-A KUBE-SEP-ECHO -m comment --comment default/echo -s 10.244.0.2 -j KUBE-MARK-MASQ
-A KUBE-SEP-ECHO -m comment --comment default/echo -m udp -p udp -j DNAT --to-destination 10.244.0.2:53
-A KUBE-SVC-FAR -m comment --comment "default/far cluster IP" -m udp -p udp ! -s 10.244.0.0/16 -d 10.244.255.11 \
--dport 53 -j KUBE-MARK-MASQ
-A KUBE-SVC-FAR -m comment --comment "default/far -> 10.0.1.21:53" -j KUBE-SEP-FAR
-A KUBE-SEP-FAR -m comment --comment default/far -m udp -p udp -j DNAT --to-destination 10.0.1.21:53
COMMIT
"""

KUBE_NFTABLES = """\
table ip kube-proxy {
  comment "rules for kube-proxy"
  set cluster-ips { type ipv4_addr; elements = { 10.244.255.10, 10.244.255.11 } }
  set nodeport-ips { type ipv4_addr; elements = { 10.0.1.11 } }
  map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; }
  map no-endpoint-nodeports { type inet_proto . inet_service : verdict; }
  map firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
  map service-ips {
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = { 10.244.255.10 . udp . 53 : goto service-echo, 10.244.255.11 . udp . 53 : goto service-far }
  }
  map service-nodeports {
    type inet_proto . inet_service : verdict
    elements = { udp . 30053 : goto external-echo }
  }
  chain mark-for-masquerade { meta mark set meta mark | 0x4000; }
  chain masquerading {
    meta mark & 0x4000 == 0 return
    meta mark set meta mark ^ 0x4000
    counter masquerade fully-random
  }
  chain reject-chain { reject; }
  chain endpoint-echo { ip saddr 10.244.0.2 jump mark-for-masquerade; meta l4proto udp dnat to 10.244.0.2:53; }
  chain endpoint-far { meta l4proto udp dnat to 10.0.1.21:53; }
  chain service-echo {
    ip daddr 10.244.255.10 udp dport 53 ip saddr != 10.244.0.0/16 jump mark-for-masquerade
    numgen random mod 1 vmap { 0 : goto endpoint-echo }
  }
  chain service-far {
    ip daddr 10.244.255.11 udp dport 53 ip saddr != 10.244.0.0/16 jump mark-for-masquerade
    numgen random mod 1 vmap { 0 : goto endpoint-far }
  }
  chain external-echo { jump mark-for-masquerade; goto service-echo; }
  chain services {
    ip daddr . meta l4proto . th dport vmap @service-ips
    ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
  }
  chain service-endpoints-check { ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }
  chain nodeport-endpoints-check { ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports; }
  chain firewall-check { ip daddr . meta l4proto . th dport vmap @firewall-ips; }
  chain cluster-ips-check {
    ip daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"
    ip daddr { 10.244.255.0/24 } drop comment "Drop traffic to unallocated ClusterIPs"
  }
  chain filter-prerouting { type filter hook prerouting priority -110; ct state new jump firewall-check; }
  chain filter-input {
    type filter hook input priority -110
    ct state new jump nodeport-endpoints-check
    ct state new jump service-endpoints-check
  }
  chain filter-forward {
    type filter hook forward priority -110
    ct state new jump service-endpoints-check
    ct state new jump cluster-ips-check
  }
  chain filter-output {
    type filter hook output priority -110
    ct state new jump service-endpoints-check
    ct state new jump firewall-check
  }
  chain filter-output-post-dnat { type filter hook output priority -90; ct state new jump cluster-ips-check; }
  chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
  chain nat-output { type nat hook output priority -100; jump services; }
  chain nat-postrouting { type nat hook postrouting priority srcnat; jump masquerading; }
}
"""

DOCKER = """\
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
"""

FIREWALLD = """\
table inet firewalld {
  chain filter_PREROUTING {
    type filter hook prerouting priority filter + 10; policy accept;
    icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept
    meta nfproto ipv6 fib saddr . mark . iif oif missing drop
  }
  chain filter_IN_public {
    tcp dport 22 accept
    udp dport 8472 accept
    meta l4proto { icmp, ipv6-icmp } accept
    reject with icmpx type admin-prohibited
  }
  chain filter_IN_trusted { accept; }
  chain filter_FWD_public { reject with icmpx type admin-prohibited; }
  chain filter_FWD_trusted { accept; }
  chain filter_INPUT_ZONES {
    iifname "tke-br0" goto filter_IN_trusted
    iifname "tke0" goto filter_IN_trusted
    goto filter_IN_public
  }
  chain filter_FORWARD_ZONES {
    iifname "tke-br0" goto filter_FWD_trusted
    iifname "tke0" goto filter_FWD_trusted
    goto filter_FWD_public
  }
  chain filter_INPUT {
    type filter hook input priority filter + 10; policy accept;
    ct state { established, related } accept
    ct status dnat accept
    iifname "lo" accept
    ct state invalid drop
    jump filter_INPUT_ZONES
    reject with icmpx type admin-prohibited
  }
  chain filter_FORWARD {
    type filter hook forward priority filter + 10; policy accept;
    ct state { established, related } accept
    ct status dnat accept
    iifname "lo" accept
    ct state invalid drop
    jump filter_FORWARD_ZONES
    reject with icmpx type admin-prohibited
  }
}
"""
FIREWALLD_AS_INSTALLED = "\n".join(line for line in FIREWALLD.splitlines() if '"tke' not in line) + "\n"
