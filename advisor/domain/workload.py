"""What to learn: the model, the task, how much data of what length, how long to train."""

from __future__ import annotations

from typing import Final

from pydantic import Field, model_validator

from advisor.domain.request.vocabulary import GenerationEngine, Objective, Task, TaskType
from advisor.domain.stored import Value

DEFAULT_SEQ_LEN: Final = 1024
"""Tokens of the longest sample where nobody says: TRL's own default for max_length (SFTConfig, trl 1.16)."""
PAIRED: Final[frozenset[Objective]] = frozenset({"dpo", "ipo", "orpo", "cpo", "simpo", "reward"})
"""Objectives whose samples are two sequences each, a preferred and a rejected answer."""


class Rollout(Value):
    """How a reinforcement objective has the completions it learns from.

    Each setting is called as TRL calls it but `engine`, which is three of its settings in one. A prompt of P tokens
    gets `num_generations` completions of `completion_length` tokens at most.
    """

    num_generations: int = Field(8, ge=2, le=10**5)
    completion_length: int = Field(512, ge=1, le=10**6)
    engine: GenerationEngine = "transformers"
    vllm_gpu_memory_utilization: float = Field(0.3, gt=0, lt=1)
    beta: float = Field(0.0, ge=0)
    steps_per_generation: int | None = Field(None, ge=1, description="None: the gradient accumulation")
    num_iterations: int = Field(1, ge=1, le=1000)

    def batches(self, accumulation: int) -> int:
        """Micro-batches whose completions are generated at once."""
        return self.steps_per_generation or accumulation

    def generations_a_step(self, accumulation: int) -> float:
        """How often completions are generated in one optimizer step; below 1 where they serve several."""
        return accumulation / (self.batches(accumulation) * self.num_iterations)


class SampleImages(Value):
    """The pictures of one sample of a vision-language model, all of one size, as its image processor makes them.

    `width` and `height` are as given, in pixels. `grid` is what the vision tower reads of each picture after it was
    resized, in patches: (rows, columns). `tokens` are the positions that each takes in the sequence, `marks` those
    among them that say where rows and tiles end. A picture that is cut into tiles is read as so many of `grid` each.
    """

    count: int = Field(ge=1, le=1000)
    width: int = Field(ge=1, le=10**5)
    height: int = Field(ge=1, le=10**5)
    grid: tuple[int, int]
    tokens: int = Field(ge=1)
    marks: int = Field(0, ge=0)
    tiles: int = Field(1, ge=1)

    @property
    def in_words(self) -> str:
        """The pictures for a reader: `2 pictures of 640 x 480 pixels`."""
        return f"{self.count} picture{'' if self.count == 1 else 's'} of {self.width} x {self.height} pixels"


class Workload(Value):
    """One thing to learn.

    Lengths are in tokens. `seq_len` is the longest sample after truncation and decides memory;
    `mean_seq_len` is the mean padded length of a batch's samples and decides time (default: `seq_len`).
    `target_len` is the longest target of a seq2seq task, or the longest completion where a `rollout` generates them:
    then `seq_len` is a prompt and its completion, `samples` are prompts, and a batch is counted in completions. A
    sample of a `PAIRED` objective is two sequences, and lengths are those of one of them. The tokens of `images` are
    counted in `seq_len`, as trainers count them in their longest length.

    Raises:
        ValidationError: a size is not positive, or the mean exceeds the longest.
    """

    model: str
    task: Task = "causal-lm"
    objective: Objective = "sft"
    task_type: TaskType | None = None
    samples: int | None = Field(None, ge=1, le=10**12)
    seq_len: int = Field(DEFAULT_SEQ_LEN, ge=1, le=10**7)
    mean_seq_len: float | None = Field(None, gt=0)
    target_len: int | None = Field(None, ge=1, le=10**7)
    image_size: int | None = Field(None, ge=1, le=10**4, description="a picture's side in pixels")
    images: SampleImages | None = Field(None, description="of a vision-language model; None: texts alone")
    audio_seconds: float | None = Field(None, gt=0, description="a recording's length")
    rollout: Rollout | None = Field(None, description="of a reinforcement objective: how its completions are had")
    num_labels: int = Field(2, ge=1, le=10**6)
    epochs: float = Field(3.0, gt=0, le=10**6)
    effective_batch_size: int = Field(16, ge=1, le=10**7)
    lengths: str = Field("assumed: no data given", description="where the lengths come from, for the reader")
    length_quantiles: tuple[int, ...] = Field(
        (),
        description="equally likely lengths of the data's samples, ascending; empty where only the mean is known",
        exclude=True,
        repr=False,
    )

    @model_validator(mode="after")
    def _mean_within(self) -> Workload:
        if self.mean_seq_len is not None and self.mean_seq_len > self.seq_len:
            raise ValueError(f"mean_seq_len {self.mean_seq_len} exceeds the longest, seq_len {self.seq_len}")
        return self

    @property
    def mean_length(self) -> float:
        return self.seq_len if self.mean_seq_len is None else self.mean_seq_len

    @property
    def size_in_words(self) -> str:
        """One sample's size for a reader: `1024 tokens`, `224 x 224 pixels`, `30 s of sound`."""
        if self.image_size is not None:
            return f"{self.image_size} x {self.image_size} pixels"
        if self.audio_seconds is not None:
            return f"{self.audio_seconds:g} s of sound"
        return f"{self.seq_len} tokens" + (f", in them {self.images.in_words}" if self.images is not None else "")

    @property
    def sequences(self) -> int:
        """Sequences that one sample is in a batch."""
        return 2 if self.objective in PAIRED else 1

    def optimizer_steps(self) -> int | None:
        """Optimizer steps of the whole training, the last incomplete batch counted; None without samples."""
        if self.samples is None:
            return None
        learned = self.samples
        if self.rollout is not None:
            learned *= self.rollout.num_generations * self.rollout.num_iterations
        a_epoch = -(-learned // self.effective_batch_size)
        return max(1, round(a_epoch * self.epochs))
