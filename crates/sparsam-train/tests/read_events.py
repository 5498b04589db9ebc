"""Prints what TensorBoard reads in a folder, as JSON: for each tag its steps and values, and the hyperparameters."""

import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

accumulator = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
accumulator.Reload()
scalars = {
    tag: [[event.step, event.value] for event in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]
}
contents = {
    tag.removeprefix("_hparams_/"): HParamsPluginData.FromString(content)
    for tag, content in accumulator.PluginTagToContent("hparams").items()
}
start, end = contents["session_start_info"].session_start_info, contents["session_end_info"].session_end_info
hyperparameters = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
print(json.dumps({"scalars": scalars, "hyperparameters": hyperparameters, "status": end.status}))
