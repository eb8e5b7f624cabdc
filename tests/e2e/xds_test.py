"""BackNets by an xDS target, as a service mesh names them: a control plane (aggregated discovery, version 3), which this
script plays with Envoy's own messages, tells the host where they are, and that one of them has gone and another come.
"""

import concurrent.futures
import itertools
import json
import os
import queue
import signal
import tempfile
import threading
import time
import unittest

import grpc
import tritonclient.grpc as triton
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import config_source_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as manager_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2

from deployment import PHOTOGRAPHS, DeployedTest, Server

NAME = "backnets"


def packed(message):
    out = discovery_pb2.DiscoveryResponse().resources.add()
    out.Pack(message)
    return out


def resources(addresses):
    """What there is to discover, by type: everything at NAME goes to one cluster, which has these addresses."""
    manager = manager_pb2.HttpConnectionManager(route_config=route_pb2.RouteConfiguration(name=NAME))
    host = manager.route_config.virtual_hosts.add(name=NAME, domains=["*"])
    host.routes.add().match.prefix = ""
    host.routes[0].route.cluster = NAME
    manager.http_filters.add(name="router").typed_config.Pack(router_pb2.Router())
    listener = listener_pb2.Listener(name=NAME)
    listener.api_listener.api_listener.Pack(manager)

    cluster = cluster_pb2.Cluster(name=NAME, type=cluster_pb2.Cluster.EDS)
    cluster.eds_cluster_config.eds_config.CopyFrom(
        config_source_pb2.ConfigSource(ads=config_source_pb2.AggregatedConfigSource()))

    assignment = endpoint_pb2.ClusterLoadAssignment(cluster_name=NAME)
    locality = assignment.endpoints.add(load_balancing_weight={"value": 1})
    locality.locality.region = "here"
    for address in addresses:
        name, port = address.split(":")
        socket = locality.lb_endpoints.add().endpoint.address.socket_address
        socket.address, socket.port_value = name, int(port)
    return {any.type_url: any for any in map(packed, (listener, cluster, assignment))}


class ControlPlane(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):
    """Answers each type that is asked for, and again when it changes."""

    def __init__(self):
        self.addresses, self.streams, self.lock = [], [], threading.Lock()
        self.refused = []  # what the host said of answers that it did not take
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def set(self, *addresses):
        with self.lock:
            self.addresses = list(addresses)
            for stream in self.streams:
                stream.put(None)

    def StreamAggregatedResources(self, requests, context):  # noqa: N802, gRPC's name
        events, wanted, versions = queue.Queue(), set(), itertools.count(1)
        with self.lock:
            self.streams.append(events)

        def listen():
            try:
                for request in requests:
                    events.put(request)
            except grpc.RpcError:
                pass  # the host has gone
            events.put(StopIteration)

        threading.Thread(target=listen, daemon=True).start()
        while (event := events.get()) is not StopIteration:
            changed = event is None
            if changed:
                types = sorted(wanted)
            elif event.response_nonce:  # the host has taken an answer, or not
                if event.HasField("error_detail"):
                    self.refused.append(event.error_detail.message)
                continue
            else:
                wanted.add(event.type_url)
                types = [event.type_url]
            with self.lock:
                all_resources = resources(self.addresses)
            for type_url in types:
                version = str(next(versions))
                yield discovery_pb2.DiscoveryResponse(version_info=version, nonce=version, type_url=type_url,
                                                      resources=[all_resources[type_url]])


class Xds(DeployedTest):
    def setUp(self):
        self.plane = ControlPlane()
        self.addCleanup(self.plane.server.stop, None)
        bootstrap = self.enterContext(tempfile.NamedTemporaryFile("w"))
        json.dump({"xds_servers": [{"server_uri": f"127.0.0.1:{self.plane.port}",
                                    "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}],
                   "node": {"id": "host"}}, bootstrap)
        bootstrap.flush()
        os.environ["GRPC_XDS_BOOTSTRAP"] = bootstrap.name
        self.addCleanup(os.environ.pop, "GRPC_XDS_BOOTSTRAP")
        self.model = self.deployment.model_name()

    def backnet(self):
        return self.enterContext(Server("backnet", self.deployment.bundle))

    def served(self, backnet):
        statistics = triton.InferenceServerClient(backnet.address).get_inference_statistics(self.model, as_json=True)
        return int(statistics["model_stats"][0].get("inference_count", 0))

    def test_a_control_plane_says_where_they_are(self):
        one, two, later = self.backnet(), self.backnet(), self.backnet()
        self.plane.set(one.address, two.address)
        with self.deployment.serve("--backnet", f"grpc://xds:///{NAME}/{self.model}") as server:
            answers = json.loads(self.deployment.classify(server, *PHOTOGRAPHS[:40]).stdout)
            self.assertEqual(len(answers), 40)
            self.assertEqual(self.plane.refused, [])
            counts = [self.served(each) for each in (one, two, later)]
            self.assertEqual(sum(counts), 40, counts)
            self.assertTrue(counts[0] > 0 and counts[1] > 0 and counts[2] == 0, counts)

            self.plane.set(two.address, later.address)
            one.stop(signal.SIGTERM)
            deadline = time.monotonic() + 30
            while self.served(later) == 0:
                self.deployment.classify(server, *PHOTOGRAPHS[:8])
                self.assertLess(time.monotonic(), deadline)
            self.assertEqual(self.plane.refused, [])


if __name__ == "__main__":
    unittest.main()
