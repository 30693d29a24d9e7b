# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fields and flags that the programs know, from their own types and references of Kubernetes 1.36 and k3s 1.35.

A field is a dictionary of further fields, or ``ANY``. ``kubeadm config validate`` rejects a field that is not here.
"""

from __future__ import annotations

import typing as t

Fields = dict[str, t.Any]

ANY = None
IMAGE = {"imageRepository": ANY, "imageTag": ANY}
LOCAL_ENDPOINT = {"advertiseAddress": ANY, "bindPort": ANY}


def fields(text: str, **further: t.Any) -> Fields:
    """Return fields without further ones, from their names in a text, and some with further fields."""
    return {**dict.fromkeys(text.split()), **further}


def kubeadm(version: str) -> Fields:
    """Return the fields of kubeadm's documents by kind."""
    newer = version == "v1beta4"
    component = fields("extraArgs extraVolumes" + " extraEnvs" * newer)
    registration = fields(
        "name criSocket taints kubeletExtraArgs ignorePreflightErrors imagePullPolicy" + " imagePullSerial" * newer
    )
    local = fields("dataDir extraArgs serverCertSANs peerCertSANs" + " extraEnvs" * newer, **IMAGE)
    external = fields("endpoints caFile certFile keyFile" + " httpEndpoints" * newer)
    token = fields("token description ttl expires usages groups")
    discovery = {
        "bootstrapToken": fields("token apiServerEndpoint caCertHashes unsafeSkipCAVerification"),
        "file": fields("kubeConfigPath"),
        "tlsBootstrapToken": ANY,
        **({} if newer else {"timeout": ANY}),
    }
    run = {
        "nodeRegistration": registration,
        "patches": fields("directory"),
        "skipPhases": ANY,
        **({"dryRun": ANY, "timeouts": ANY} if newer else {}),
    }
    further = (
        {
            "proxy": fields("disabled"),
            **fields("encryptionAlgorithm certificateValidityPeriod caCertificateValidityPeriod"),
        }
        if newer
        else {}
    )
    return {
        "InitConfiguration": {
            **run,
            "bootstrapTokens": token,
            "localAPIEndpoint": LOCAL_ENDPOINT,
            "certificateKey": ANY,
        },
        "ClusterConfiguration": {
            "etcd": {"local": local, "external": external},
            "networking": fields("serviceSubnet podSubnet dnsDomain"),
            "apiServer": {**component, "certSANs": ANY, **({} if newer else {"timeoutForControlPlane": ANY})},
            "controllerManager": component,
            "scheduler": component,
            "dns": {**IMAGE, **({"disabled": ANY} if newer else {})},
            **fields("kubernetesVersion controlPlaneEndpoint certificatesDir imageRepository featureGates clusterName"),
            **further,
        },
        "JoinConfiguration": {
            **run,
            "caCertPath": ANY,
            "discovery": discovery,
            "controlPlane": {"localAPIEndpoint": LOCAL_ENDPOINT, "certificateKey": ANY},
        },
    }


KUBE_PROXY = fields(
    """
    featureGates clientConnection logging hostnameOverride bindAddress healthzBindAddress metricsBindAddress
    bindAddressHardFail enableProfiling showHiddenMetricsForVersion mode iptables ipvs nftables winkernel
    detectLocalMode clusterCIDR nodePortAddresses oomScoreAdj conntrack configSyncPeriod portRange windowsRunAsService
    """,
    detectLocal=fields("bridgeInterface interfaceNamePrefix"),
)

KUBELET = fields(
    """
    enableServer staticPodPath podLogsDir syncFrequency fileCheckFrequency httpCheckFrequency staticPodURL
    staticPodURLHeader address port readOnlyPort tlsCertFile tlsPrivateKeyFile tlsCipherSuites tlsMinVersion
    rotateCertificates serverTLSBootstrap authentication authorization registryPullQPS registryBurst eventRecordQPS
    eventBurst enableDebuggingHandlers healthzPort healthzBindAddress oomScoreAdj clusterDomain clusterDNS
    streamingConnectionIdleTimeout nodeStatusUpdateFrequency nodeStatusReportFrequency nodeLeaseDurationSeconds
    cgroupDriver cpuManagerPolicy hairpinMode maxPods podCIDR podPidsLimit resolvConf kubeAPIQPS kubeAPIBurst
    serializeImagePulls maxParallelImagePulls evictionHard evictionSoft podsPerCore failSwapOn memorySwap
    containerLogMaxSize containerLogMaxFiles systemReserved kubeReserved enforceNodeAllocatable providerID logging
    registerWithTaints registerNode containerRuntimeEndpoint imageServiceEndpoint featureGates
    """
)

COMMON = """
    token node-name node-ip node-external-ip node-label node-taint kubelet-arg kube-proxy-arg server data-dir
    container-runtime-endpoint private-registry resolv-conf protect-kernel-defaults selinux lb-server-port bind-address
"""
SERVER = """
    advertise-address tls-san tls-san-security cluster-cidr service-cidr service-node-port-range cluster-dns
    cluster-domain egress-selector-mode agent-token token-file cluster-reset datastore-endpoint disable
    disable-scheduler disable-cloud-controller disable-kube-proxy kube-apiserver-arg etcd-arg
    kube-controller-manager-arg kube-scheduler-arg kube-cloud-controller-manager-arg write-kubeconfig-mode
"""
RANCHER = {
    ("k3s", "server"): fields(
        COMMON
        + SERVER
        + """
        https-listen-port advertise-port flannel-backend flannel-iface disable-network-policy cluster-init
        disable-helm-controller secrets-encryption
        """
    ),
    ("k3s", "agent"): fields(COMMON + "disable-apiserver-lb flannel-iface flannel-conf flannel-cni-conf"),
    ("rke2", "server"): fields(COMMON + SERVER + "cni ingress-controller profile"),
    ("rke2", "agent"): fields(COMMON + "profile"),
}
"""The keys of config.yaml of k3s and RKE2, by distribution and document."""

FLAGS = {
    "apiServer": "enable-aggregator-routing endpoint-reconciler-type advertise-address v",
    "controllerManager": "allocate-node-cidrs cluster-cidr node-cidr-mask-size-ipv4 v",
    "nodeRegistration": "node-ip max-pods v",
    "kube-apiserver-arg": "anonymous-auth enable-aggregator-routing endpoint-reconciler-type advertise-address v",
    "kube-controller-manager-arg": "allocate-node-cidrs node-cidr-mask-size-ipv4 v",
    "kubelet-arg": "max-pods v",
    "kube-proxy-arg": "proxy-mode detect-local-mode pod-bridge-interface cluster-cidr v",
}
"""Flags of the programs, by the part of a document that has them."""
