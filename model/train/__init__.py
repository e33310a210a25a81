"""Training: options, data pipeline, losses, teachers and the loop (docs/training.md).

    from bhvit.model.train import TrainConfig, train
"""

from bhvit.model.train.augmentation import augment
from bhvit.model.train.options import PHASES, TrainConfig
from bhvit.model.train.run import train
from bhvit.model.train.schedule import learning_rate

__all__ = ["PHASES", "TrainConfig", "augment", "learning_rate", "train"]
