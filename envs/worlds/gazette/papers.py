"""What the gazette's papers are about: a problem, a method, data, and what came out."""

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class FieldOfResearch:
    """A field of research."""

    name: str
    problems: tuple[str, ...]
    methods: tuple[str, ...]
    data: tuple[str, ...]
    measures: tuple[str, ...]
    uses: tuple[str, ...]


@dataclass(frozen=True)
class Paper:
    """The facts of one paper; the same for whoever writes about it."""

    title: str
    problem: str
    method: str
    data: str
    size: int
    measure: str
    gain: int
    rivals: int
    use: str

    @property
    def items(self) -> tuple[str, ...]:
        """What a question lists."""
        return (self.problem, self.method, self.data, self.measure)


FIELDS = (
    FieldOfResearch(
        "array processing",
        ("source localization", "speech separation", "echo cancellation", "noise tracking"),
        ("sparse Bayesian learning", "subspace fitting", "a graph filter", "blind deconvolution"),
        ("hydrophone recordings", "meeting recordings", "radar sweeps", "simulated arrays"),
        ("angular error", "signal distortion", "detection rate"),
        ("hearing aids", "sonar systems", "smart speakers"),
    ),
    FieldOfResearch(
        "plant ecology",
        ("seed dispersal", "drought survival", "pollinator decline", "invasive spread"),
        ("a mixed-effects model", "long-term plots", "isotope tracing", "drone mapping"),
        ("alpine meadows", "savanna transects", "roadside verges", "herbarium sheets"),
        ("species richness", "seedling survival", "flowering time"),
        ("reserve planning", "restoration projects", "crop insurance"),
    ),
    FieldOfResearch(
        "databases",
        ("join ordering", "index selection", "replica repair", "query caching"),
        ("a learned cost model", "adaptive sampling", "lazy materialization", "hash partitioning"),
        ("retail workloads", "sensor logs", "public benchmarks", "payment traces"),
        ("tail latency", "memory use", "throughput"),
        ("cloud warehouses", "embedded stores", "stream engines"),
    ),
    FieldOfResearch(
        "medical imaging",
        ("lesion segmentation", "motion correction", "dose reduction", "bone age estimation"),
        ("a two-stage network", "contrastive pretraining", "atlas registration", "active labeling"),
        ("chest scans", "knee images", "retina photographs", "multi-site cohorts"),
        ("overlap score", "reader agreement", "false alarm rate"),
        ("screening programs", "rural clinics", "surgical planning"),
    ),
    FieldOfResearch(
        "economics",
        ("wage rigidity", "rent regulation", "school choice", "household debt"),
        ("a difference design", "a matching model", "survey experiments", "tax records linkage"),
        ("county panels", "bank accounts", "auction archives", "rental listings"),
        ("job mobility", "price dispersion", "savings rate"),
        ("housing policy", "minimum wage debates", "credit regulation"),
    ),
    FieldOfResearch(
        "robotics",
        ("grasp planning", "terrain estimation", "swarm coordination", "slip detection"),
        ("tactile feedback", "a diffusion policy", "model predictive control", "self-play"),
        ("warehouse trials", "field courses", "simulated kitchens", "legged platforms"),
        ("success rate", "energy per meter", "recovery time"),
        ("home assistance", "disaster response", "orchard picking"),
    ),
    FieldOfResearch(
        "linguistics",
        ("vowel shift", "code switching", "word order change", "child negation"),
        ("a corpus study", "eye tracking", "Bayesian phylogenetics", "elicited narratives"),
        ("village interviews", "court transcripts", "radio archives", "parent diaries"),
        ("reading time", "variant frequency", "agreement error rate"),
        ("language teaching", "speech recognition", "dialect maps"),
    ),
    FieldOfResearch(
        "materials",
        ("crack growth", "battery aging", "thermal leakage", "surface corrosion"),
        ("laser annealing", "a polymer coating", "machine-learned potentials", "layered doping"),
        ("alloy samples", "pouch cells", "ceramic foams", "glass panels"),
        ("fatigue life", "capacity loss", "heat flux"),
        ("turbine blades", "electric buses", "passive houses"),
    ),
)
_TITLES = (
    "{Method} for {problem}",
    "{Problem} with {method}",
    "{Problem} in {data}: {method} revisited",
    "On {problem} and {method}",
    "Toward better {problem} from {data}",
    "{Method} improves {measure} in {data}",
)


def draw_paper(rng: random.Random, field: FieldOfResearch) -> Paper:
    """The facts of a paper, and its title in nobody's style."""
    problem, method = rng.choice(field.problems), rng.choice(field.methods)
    data, measure = rng.choice(field.data), rng.choice(field.measures)
    title = rng.choice(_TITLES).format(
        Method=_capital(method.removeprefix("a ")),
        method=method.removeprefix("a "),
        Problem=_capital(problem),
        problem=problem,
        data=data,
        measure=measure,
    )
    return Paper(
        title=title,
        problem=problem,
        method=method,
        data=data,
        size=rng.randint(12, 950),
        measure=measure,
        gain=rng.randint(4, 48),
        rivals=rng.randint(2, 9),
        use=rng.choice(field.uses),
    )


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]
