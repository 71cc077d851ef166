"""Boxes of the sampled frames as a COCO data set."""

from pipeline.explanation.exports.exported import ClassNames, ExportedVideo, boxes_by_frame
from pipeline.explanation.exports.files import ExportFiles, JsonList, append_file, to_json


class CocoExport:
    """Writes `coco.json`: sampled frames, object classes and one annotation per box.

    The file name of frame n of a video, counted from 0, is `ID.mp4/NNNNNN.png` with the number
    n + 1, as in the frames of Action Genome.

    Args:
        files: open output files.
        classes: classes of the network.
    """

    def __init__(self, files: ExportFiles, classes: ClassNames) -> None:
        self._file = files.open("coco.json")
        self._categories = {name: number for number, name in enumerate(classes.objects, 1)}
        self._file.write('{"info": {"description": "LaIAR explanations"},\n"images": ')
        self._scratch = files.open_scratch()
        self._images, self._annotations = JsonList(self._file), JsonList(self._scratch)
        self._num_images = self._num_annotations = 0

    def add(self, video: ExportedVideo) -> None:
        """Add a video."""
        about = video.explanation.video
        for frame in boxes_by_frame(video.explanation):
            self._num_images += 1
            self._images.add(
                {
                    "id": self._num_images,
                    "file_name": f"{about.id}.mp4/{frame.frame_index + 1:06d}.png",
                    "width": about.width,
                    "height": about.height,
                    "video": about.id,
                    "frame_index": frame.frame_index,
                    "time_s": frame.time_s,
                }
            )
            for row in frame.boxes:
                self._num_annotations += 1
                x1, y1, x2, y2 = row.box
                self._annotations.add(
                    {
                        "id": self._num_annotations,
                        "image_id": self._num_images,
                        "category_id": self._categories[row.class_],
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": (x2 - x1) * (y2 - y1),
                        "iscrowd": 0,
                        "score": row.score,
                        "attributes": {
                            "score": row.score,
                            "track_id": row.track,
                            "relations": list(row.relations),
                            "keep": row.is_kept,
                        },
                    }
                )

    def finish(self) -> None:
        """Write the rest of the file."""
        self._images.end()
        self._annotations.end()
        self._file.write(',\n"annotations": ')
        append_file(self._scratch, self._file)
        rows = [{"id": number, "name": name} for name, number in self._categories.items()]
        self._file.write(f',\n"categories": {to_json(rows)}}}\n')
