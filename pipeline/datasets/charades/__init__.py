"""Reader of Charades and Action Genome in their released form.

release        labels and annotated frames of each video, from all files
table          reader of Charades' CSV and class files
action_genome  reader of Action Genome's two pickles
pickle_values  checked access to the values of an unpickled annotation
locate         search for annotation files by their release names
"""
