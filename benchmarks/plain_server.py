"""What somebody writes who needs a classifier behind HTTP by tonight: a peer to be measured with.

python -m benchmarks.plain_server MODEL.onnx TOKENIZER_DIRECTORY PORT
"""

import sys

import numpy as np
import onnxruntime as ort
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import AutoConfig, AutoTokenizer

model, source, port = sys.argv[1:]
session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
config = AutoConfig.from_pretrained(source)
tokenizer = AutoTokenizer.from_pretrained(source, model_max_length=config.max_position_embeddings)
app = FastAPI()


class Request(BaseModel):
    """One text."""

    text: str


@app.post("/classify")
def classify(request: Request) -> dict[str, float]:
    """Scores by label."""
    rows = tokenizer(request.text, truncation=True, return_tensors="np")
    (logits,) = session.run(None, {node.name: rows[node.name] for node in session.get_inputs()})
    shares = np.exp(logits[0] - logits[0].max())
    return {config.id2label[i]: float(s) for i, s in enumerate(shares / shares.sum())}


uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")
