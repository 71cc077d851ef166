"""Weights files and the networks built from them.

files               search for weights files
cards               base class of the cards, and weights files with a card
detector_card       card of a detector
predictor_card      card of a relation predictor
model_card          card of a trained LaIAR network
loading             loading of weights into a network, by name
detectors           detectors with weights, built from settings
predictors          relation predictors with weights, built from settings
video_networks      video networks of torchvision, which compute clip features
detectron2_backend  detectron2 models as detectors
torch_files         files of torch and pickles of tensors, read without running code
published           checksums in the names of published weights
checkpoints         state dicts in checkpoints of other projects
class_names         names of object classes in the spelling of a vocabulary
pretrained          folder of a network with its detector, in the layout of the Hugging Face Hub
model_card.md       template of the model card in such a folder
run_folder          run folder with the card, weights and label bank of a trained network
"""
