"""Human-object pairs, their geometry and their predicates.

boxes              union boxes of pairs
carry              transfer of annotated relations to detected boxes
frequency          frequency baseline (class-conditional predicate prior)
graph              `RelationGraph`, the pairs of one frame with their predicates
loss               training losses of the relation predictor
measure            sizes of a relation predictor, inferred from its weights
object_classifier  object classifier of STTran
pair_batch         `PairBatch`, the input of the relation predictor
people             numbering of the people of a video
pairs              human-object pairs of a frame
recall             R@K of scene graphs
scene_objects      objects of a scene graph, selected as in STTran at test time
settings           sizes of the relation predictor
spatial_masks      27x27 masks of the boxes of a pair
spatio_temporal    transformer of STTran
sttran             STTran, the relation predictor
tracks             linking of object boxes to tracks over frames
windows            attention windows over the pairs of one or two frames
"""
