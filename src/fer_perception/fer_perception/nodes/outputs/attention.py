"""The topic ``attention`` of ``fer_node`` and ``emotion_node``."""

from __future__ import annotations

from collections.abc import Sequence

from fer_msgs.msg import AttentionArray
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header

from fer_perception.emotions.attention_maps import AttentionMaps
from fer_perception.errors import BundleError
from fer_perception.models.bundle import Bundle
from fer_perception.nodes.base import conversions
from fer_perception.nodes.base.managed_node import ManagedNode
from fer_perception.nodes.outputs.optional_topic import OptionalTopic
from fer_perception.pipeline import Emotions, Faces
from fer_perception.settings import Privacy

TOPIC = "attention"


class AttentionTopic(OptionalTopic):
    """Publishes maps while somebody subscribes; where there are none to publish, there is no publisher.

    Made in the transition configure, and freed by cleanup.
    """

    def __init__(self, node: ManagedNode, bundle: Bundle, threads: int, privacy: Privacy = "no_images") -> None:
        super().__init__(node, TOPIC)
        self._maps: AttentionMaps | None = None
        if privacy == "strict":
            self.why_not = "privacy strict publishes no attention maps. Set privacy to no_images"
            return
        try:
            self._maps = AttentionMaps(bundle, threads)
        except BundleError as error:
            self.why_not = str(error)
            return
        node.at_cleanup(self._maps.close)
        self._publisher = node.publisher(AttentionArray, TOPIC)

    def publish(self, header: Header, found: Faces, regions: Sequence[RegionOfInterest], emotions: Emotions) -> None:
        """Publish the maps of the faces that got an emotion, if somebody subscribes.

        :param regions: where the faces are, as in ``emotions``' message.
        """
        if self._maps is None or not self._publisher.get_subscription_count():
            return
        kept = [index for index in range(len(found.faces)) if emotions.refusal(index) is None]
        maps = self._maps.of_faces([found.faces[index] for index in kept], [found.crops[index] for index in kept])
        track_ids, rois = [found.track_ids[index] for index in kept], [regions[index] for index in kept]
        self._publisher.publish(conversions.attention_array_message(header, self._maps.map_id, track_ids, rois, maps))
