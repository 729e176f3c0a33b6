"""Ray clusters: what one is to the rest of the plugin, and one module for each way to have one."""

from pytest_raycompat.cluster.protocol import ClusterError as ClusterError
from pytest_raycompat.cluster.protocol import Node as Node
from pytest_raycompat.cluster.protocol import NodeShape as NodeShape
from pytest_raycompat.cluster.protocol import RayCluster as RayCluster
