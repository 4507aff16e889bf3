"""For orientation: the same model and batch sizes through Python's InferenceSession, one thread."""

import sys
import time

import numpy as np
import onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
rng = np.random.default_rng(1)
for rows in (1, 1000):
    inputs = [{"X": rng.normal(size=(rows, 30)).astype(np.float32)} for _ in range(64)]
    rates = []
    for turn in range(15):
        times = max(1, 20000 // rows)
        start = time.perf_counter()
        for i in range(times):
            session.run(None, inputs[i % 64])
        rates.append(times * rows / (time.perf_counter() - start))
    print(f"{rows:6d}  {'':16}  {np.median(rates):16.0f}  Python's InferenceSession")
