"""Old code of the tutorial of concepts: a BERT in a module that forgets its training step."""

import torch
from pytorch_lightning.core import LightningModule
from transformers import AutoConfig, AutoModel, get_linear_schedule_with_warmup


class BertModel(LightningModule):
    def __init__(self, model_name_or_path, num_labels, learning_rate=2e-5, warmup_steps=2):
        super().__init__()
        self.save_hyperparameters()
        self.config = AutoConfig.from_pretrained(model_name_or_path, num_labels=num_labels)
        self.model = AutoModel.from_pretrained(model_name_or_path, config=self.config)
        self.classifier = torch.nn.Linear(self.config.hidden_size, num_labels)

    def forward(self, **inputs):
        return self.classifier(self.model(**inputs).pooler_output)

    def configure_optimizers(self):
        model = self.model
        no_decay = ["bias", "LayerNorm.weight"]
        named = list(model.named_parameters()) + list(self.classifier.named_parameters())
        optimizer_grouped_parameters = [
            {
                "params": [p for n, p in named if not any(nd in n for nd in no_decay)],
                "weight_decay": 0.1,
            },
            {
                "params": [p for n, p in named if any(nd in n for nd in no_decay)],
                "weight_decay": 0.0,
            },
        ]
        optimizer = torch.optim.AdamW(
            optimizer_grouped_parameters, lr=self.hparams.learning_rate, eps=1e-8
        )
        scheduler = get_linear_schedule_with_warmup(
            optimizer, num_warmup_steps=self.hparams.warmup_steps, num_training_steps=10
        )
        scheduler = {"scheduler": scheduler, "interval": "step", "frequency": 1}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}
