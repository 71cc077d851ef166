"""LaIAR network with a video branch and a language branch.

Inference requires only the video branch.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from model.clip_feature import ClipReadout
from model.dt_former import DTFormer
from model.encoder import RelationEncoder, scatter_tokens
from model.labels import THRESHOLD, LabelReader, LabelTargets
from model.network import ActionNetwork
from model.noise import VideoNoise
from model.readout import Readout
from model.relation_features import SemanticRelation, VisualRelation
from model.settings import LaIARSettings
from model.tokens import ActionOutput, BranchOutputs, TokenBatch, TokenGrid


class LaIAR(ActionNetwork):
    """LaIAR network (Figure 2).

    Use `model.build.build_laiar` to build the network from its settings.

    Args:
        visual: relation features of the video branch, or None for the language branch alone.
        semantic: relation features of the language branch.
        formers: DT-Formers of the video and the language branch. If the branches share one
            DT-Former, both entries are the same object.
        reader: reader of visual tokens as labels, or None for settings without reading.
        token_semantic: relation features of the tokens of labels, for networks with a reader.
            Without it, these features are those of the joint space.
        clip: readout of clip features, which the video branch adds to its logits, or None.
        num_classes: number of action classes, C.
        settings: resolved settings, see `LaIARSettings.resolved`.

    Attributes:
        log_scale: logarithm of the learnable scale t of Eq. 8. t starts at 1 / 0.07 as in CLIP.
    """

    log_scale: nn.Parameter

    def __init__(
        self,
        visual: VisualRelation | None,
        semantic: SemanticRelation,
        formers: tuple[DTFormer, DTFormer],
        *,
        reader: LabelReader | None,
        token_semantic: SemanticRelation | None = None,
        clip: ClipReadout | None = None,
        num_classes: int,
        settings: LaIARSettings,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.visual, self.semantic = visual, semantic
        self.token_semantic = token_semantic
        pools = settings.context != "none"
        # With reading, the tokens of labels have a linear encoder of their own: the change between
        # two tokens is then a linear function of the predicates that change (docs/order.md).
        self.token_encoder = None
        if settings.reading:
            self.token_encoder = RelationEncoder(
                semantic.width, settings.dim, mlp=False, dropout=0.0, has_context=pools
            )
        joint = pools and not settings.reading  # tokens get their context in the token encoder
        self.visual_encoder = self.semantic_encoder = None
        if visual is not None:
            self.visual_encoder = _encoder(visual.width, settings, joint)
        if visual is not None or not settings.reading:
            self.semantic_encoder = _encoder(semantic.width, settings, joint)
        self.reader = reader
        self.former, language = formers
        self.language_former = None if language is self.former else language

        def readout() -> Readout:
            return Readout(settings.dim, num_classes, votes=bool(settings.votes))

        self.language_head = readout()  # C_s
        self.video_head = None if reader is not None or visual is None else readout()  # C_v
        self.mimic_head = None if visual is None else readout()  # C_v2s
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.clip = clip

    def forward(
        self,
        batch: TokenBatch,
        *,
        keep: Bool[Tensor, "B T K"] | None = None,
        price: float | None = None,
        noise: VideoNoise | None = None,
        excerpts: Bool[Tensor, "n B T K"] | None = None,
    ) -> BranchOutputs:
        """Run all branches, for training; see `ActionNetwork.forward`."""
        gather = keep is not None  # the gates of such tokens have no gradient
        noise = noise or VideoNoise.drawn(len(batch), batch.mask.device)
        video = language = logits = None
        scored: list[tuple[DTFormer, Readout, RelationEncoder, Tensor, TokenGrid]] = []
        if self.visual is not None:
            seen, embeddings, grid = self.video_tokens(batch)
            video = self._recognize(batch, seen, embeddings, grid, keep, gather, noise)
            head = self.video_head or self.language_head
            scored.append((self.former, head, self._encoder(language=False), seen, grid))
        if batch.predicates is not None:
            said, grid = self._language_tokens(batch)
            language = self._read(batch, said, grid, keep, gather, noise)
            if excerpts is not None:
                logits = self._read_excerpts(said, grid, excerpts)
            if not scored or self.language_former is not None:
                former = self.language_former or self.former
                encoder = self._encoder(language=True)
                scored.append((former, self.language_head, encoder, said, grid))
        loss, drawn = None, None
        if self.settings.selector == "subset":
            loss = batch.times_s.new_zeros(())
            if price is not None and self.settings.selects:
                found = [
                    former.selection_loss(tokens, grid, encoder, head, price=price, noise=noise)
                    for former, head, encoder, tokens, grid in scored
                ]
                loss, drawn = torch.stack([term for term, _ in found]).sum(), found[0][1]
        return BranchOutputs(video, language, self._targets(batch), loss, drawn, logits)

    def recognize(
        self,
        batch: TokenBatch,
        *,
        keep: Bool[Tensor, "B T K"] | None = None,
        gather: bool = False,
    ) -> ActionOutput:
        """Run only the video branch.

        In eval mode without `keep`, selector=subset runs the transformer several more times, to
        select tokens that preserve the prediction (`preserving_subset`).

        `gather` is meant for inference. Its effect depends on the settings:

        - With discard=mask and without `keep`, the selectors determine which tokens are kept. The
          transformer's sequence contains only [class] and the kept tokens. Local representations
          are computed once, for all real tokens. All outputs equal those without `gather` up to
          rounding errors, including the embeddings of discarded tokens.
        - With discard=mask, context=none or kept, and `keep`, tokens outside `keep` are removed
          before any computation. Their embeddings are zero. The logits of a single video do not
          depend on them: bitwise with context=none, and otherwise up to rounding errors.
        - With discard=mask, context=all and `keep`, tokens outside `keep` are removed only from the
          transformer's sequence, because the context is pooled over all tokens.
        - With discard=zero, `gather` has no effect, because zeroed tokens receive attention and
          stay in the sequence.

        Args:
            batch: tokens of B videos. `predicates` is not used.
            keep: (B, T, K) bool, tokens to keep. If None, the selectors determine them.
            gather: if True, discarded tokens are removed instead of masked.

        Returns:
            The output of the video branch. With reading, its logits and gates have no gradient, and
            its estimate of the language branch's logits trains only the readout of this estimate.

        Raises:
            ValueError: if there are more frames or slots than position embeddings.

        Example::

            >>> import torch
            >>> from model.build import build_laiar
            >>> from model.settings import LaIARSettings
            >>> from model.tokens import TokenBatch
            >>> model = build_laiar(
            ...     num_classes=7,
            ...     num_objects=5,
            ...     group_sizes={"attention": 2, "spatial": 3, "contacting": 4},
            ...     box_features=8,
            ...     union_channels=6,
            ...     settings=LaIARSettings(dim=16, layers=1, heads=2, part_width=8, union_width=4),
            ...     num_labels=3,
            ... ).eval()
            >>> mask = torch.tensor([[[True, True], [True, False]]])  # 1 video, 2 frames, 3 tokens
            >>> batch = TokenBatch(
            ...     mask=mask,
            ...     human_features=torch.randn(3, 8),
            ...     object_features=torch.randn(3, 8),
            ...     union_features=torch.randn(3, 6, 7, 7),
            ...     spatial_masks=torch.rand(3, 2, 27, 27) - 0.5,
            ...     human_labels=torch.tensor([0, 0, 0]),
            ...     object_labels=torch.tensor([1, 4, 1]),
            ...     times_s=torch.tensor([0.0, 0.0, 0.5]),
            ...     tracks=torch.tensor([0, 1, 0]),
            ... )
            >>> with torch.no_grad():
            ...     output = model.recognize(batch, gather=True)
            >>> output.logits.shape
            torch.Size([1, 7])
        """
        batch = self._drop(batch, keep, gather=gather)
        return self._recognize(batch, *self.video_tokens(batch), keep, gather)

    def _recognize(
        self,
        batch: TokenBatch,
        tokens: Tensor,
        embeddings: Tensor,
        grid: TokenGrid,
        keep: Tensor | None,
        gather: bool,
        noise: VideoNoise | None = None,
    ) -> ActionOutput:
        # With reading, labels alone train the layers that both branches share. Early in training,
        # tokens are read wrongly, and from wrong labels these layers could only memorise videos.
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.reader is None):
            head, encoder = self.video_head or self.language_head, self._encoder(language=False)
            encoded = self.former(
                tokens, grid, encoder, keep=keep, gather=gather, head=head, noise=noise
            )
            output: ActionOutput = encoded.output(head, grid)
        assert self.mimic_head is not None
        mimic = self.mimic_head(encoded.z, encoded.tokens, encoded.gate)
        if self.reader is not None:
            output = replace(output, embeddings=embeddings)
        output = replace(output, mimic_logits=mimic)
        return output if self.clip is None else self.clip.join(output, batch.clip_features)

    def read_relations(
        self,
        batch: TokenBatch,
        *,
        keep: Bool[Tensor, "B T K"] | None = None,
        gather: bool = False,
    ) -> ActionOutput:
        """Run only the language branch, on the predicates of the batch.

        See `recognize` for the arguments.

        Raises:
            ValueError: if the batch has no predicates, or more frames or slots than position
                embeddings.
        """
        batch = self._drop(batch, keep, gather=gather)
        return self._read(batch, *self._language_tokens(batch), keep, gather)

    def _encoder(self, *, language: bool) -> RelationEncoder:
        """Return the encoder of a branch's tokens."""
        own = self.semantic_encoder if language else self.visual_encoder
        encoder = self.token_encoder or own
        assert encoder is not None
        return encoder

    def _language_tokens(self, batch: TokenBatch) -> tuple[Tensor, TokenGrid]:
        features = (self.token_semantic or self.semantic)(batch)
        tokens = scatter_tokens(self._encoder(language=True)(features), batch.mask)
        if self.token_encoder is None or batch.predicates is None:
            return tokens, batch.grid
        return tokens, batch.grid.only((batch.predicates >= THRESHOLD).any(1))

    def _read(
        self,
        batch: TokenBatch,
        tokens: Tensor,
        grid: TokenGrid,
        keep: Tensor | None,
        gather: bool,
        noise: VideoNoise | None = None,
    ) -> ActionOutput:
        former, encoder = self.language_former or self.former, self._encoder(language=True)
        head = self.language_head
        encoded = former(tokens, grid, encoder, keep=keep, gather=gather, head=head, noise=noise)
        output: ActionOutput = encoded.output(head, grid)
        if self.token_encoder is not None and self.semantic_encoder is not None:
            embeddings = scatter_tokens(self.semantic_encoder(self.semantic(batch)), batch.mask)
            output = replace(output, embeddings=embeddings)
        return output

    def _read_excerpts(
        self, tokens: Tensor, grid: TokenGrid, excerpts: Bool[Tensor, "n B T K"]
    ) -> Float[Tensor, "n B C"]:
        """Compute the logits of the language branch for excerpts in one pass."""
        n, keep = len(excerpts), excerpts.flatten(0, 1)
        views = grid.repeat(n).within(keep)
        former, encoder = self.language_former or self.former, self._encoder(language=True)
        encoded = former(tokens.repeat(n, 1, 1, 1), views, encoder, keep=keep, gather=True)
        logits: Tensor = self.language_head(encoded.z, encoded.tokens, encoded.gate)
        return logits.view(n, len(tokens), -1)

    def video_tokens(
        self, batch: TokenBatch
    ) -> tuple[Float[Tensor, "B T K D"], Float[Tensor, "B T K D"], TokenGrid]:
        """Compute the tokens of the video branch, before position embeddings and context.

        Returns:
            A tuple of the tokens, their visual embeddings, both zero for padding, and the grid of
            the tokens. With reading, a token is a mean of tokens of labels (`LabelReader`), and
            the grid contains only the tokens that say something: a detected object that no action
            involves is treated as padding, in both branches. Without reading, tokens and
            embeddings are equal.

        Raises:
            ValueError: if the network has only the language branch.
        """
        if self.visual is None or self.visual_encoder is None:
            raise ValueError("a network with a video branch expected, got the language branch only")
        visual = self.visual_encoder(self.visual(batch))
        embeddings = scatter_tokens(visual, batch.mask)
        if self.reader is None:
            return embeddings, embeddings, batch.grid
        read, says = self.read_tokens(visual, batch.pairs)
        return scatter_tokens(read, batch.mask), embeddings, batch.grid.only(says)

    def read_tokens(
        self, visual: Float[Tensor, "M D"], pairs: Int64[Tensor, "M 2"]
    ) -> tuple[Float[Tensor, "M D"], Bool[Tensor, "M"]]:
        """Read visual embeddings as tokens (see `LabelReader`); without reading, return them."""
        if self.reader is None or self.token_encoder is None or self.token_semantic is None:
            return visual, torch.ones_like(pairs[:, 0], dtype=torch.bool)
        labels = (self.reader.pairs, self.reader.predicates)
        with torch.no_grad():  # see `recognize`
            said = self.token_encoder(_label_features(self.token_semantic, *labels))
            joint, scale = self.embed_labels(*labels), self.log_scale
            read: tuple[Tensor, Tensor] = self.reader(visual, pairs, joint, said, scale)
        return read

    def embed_labels(
        self, pairs: Int64[Tensor, "E 2"], predicates: Bool[Tensor, "E R"]
    ) -> Float[Tensor, "E D"]:
        """Compute the language embeddings of labels in the joint space, without context.

        Args:
            pairs: object classes of the human and the object of each label.
            predicates: predicates of each label.

        Raises:
            ValueError: if the network has no joint space.
        """
        if self.semantic_encoder is None:
            raise ValueError("a network with a video branch expected, got the language branch only")
        joint: Tensor = self.semantic_encoder(_label_features(self.semantic, pairs, predicates))
        return joint

    def parts(self) -> list[list[nn.Parameter]]:
        """Group the parameters into parts that no loss term trains together.

        The selectors of selector=subset have a loss of their own. With reading, L_sim trains the
        joint space, L_v the readout of clip features, and all other terms train the other layers.
        """
        formers = (self.former, self.language_former)
        subset = [f.subset for f in formers if f is not None and f.subset is not None]
        parts = [{p for module in subset for p in module.parameters()}, set[nn.Parameter]()]
        if self.reader is not None and self.visual is not None:
            modules = (self.visual, self.semantic, self.visual_encoder, self.semantic_encoder)
            parts[1] = {p for module in modules if module is not None for p in module.parameters()}
            parts[1].add(self.log_scale)
        every = list(self.parameters())
        if self.reader is not None and self.clip is not None:
            parts.append({*self.clip.parameters()})
        parts.append({*every}.difference(*parts))
        return [[p for p in every if p in part] for part in parts if part]

    def score(
        self, tokens: Float[Tensor, "B T K D"], grid: TokenGrid, keep: Bool[Tensor, "B T K"]
    ) -> Float[Tensor, "B C"]:
        """Compute the logits of the video branch from the tokens in `keep`, see `video_tokens`.

        They do not contain the part of a clip feature.
        """
        encoded = self.former(tokens, grid, self._encoder(language=False), keep=keep, gather=True)
        head = self.video_head or self.language_head
        logits: Tensor = head(encoded.z, encoded.tokens, encoded.gate)
        return logits

    def _targets(self, batch: TokenBatch) -> LabelTargets | None:
        if self.reader is None or batch.predicates is None:
            return None
        embedded = self.embed_labels(self.reader.pairs, self.reader.predicates)
        index = self.reader.index(batch.pairs, batch.predicates >= THRESHOLD)
        return LabelTargets(embedded, index, self.reader.weights)

    def _drop(self, batch: TokenBatch, keep: Tensor | None, *, gather: bool) -> TokenBatch:
        if gather and keep is not None and self.settings.is_strict:
            return batch.only(keep)
        return batch


def _label_features(semantic: SemanticRelation, pairs: Tensor, predicates: Tensor) -> Tensor:
    """Compute the features of labels."""
    return semantic.encode(pairs[:, 0], pairs[:, 1], predicates.float())


def _encoder(width: int, settings: LaIARSettings, has_context: bool) -> RelationEncoder:
    return RelationEncoder(
        width,
        settings.dim,
        mlp=settings.encoder == "mlp",
        dropout=settings.dropout,
        has_context=has_context,
    )
