"""Waveform <-> codes: the codec, the `.dac` file, streaming. The only place that imports `dac`."""

from dacformer.codec.codec import Codec, load_codec
from dacformer.codec.dac_file import DacFile, read_dac, write_dac
from dacformer.codec.streaming import StreamDecoder

__all__ = ["Codec", "DacFile", "StreamDecoder", "load_codec", "read_dac", "write_dac"]
