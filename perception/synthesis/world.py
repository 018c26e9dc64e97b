"""What a scene is made of: light, actors, props, and all of it together with camera and road."""

from __future__ import annotations

from dataclasses import dataclass

from perception.structures import Float
from perception.synthesis.camera import Camera
from perception.synthesis.road import Road


@dataclass(frozen=True)
class Light:
    """Sun, sky and air."""

    sun: Float  # (3,) unit vector towards the sun, scene frame (y down)
    sunshine: float  # 0 overcast .. 1 clear: share of the light that casts shadows
    brightness: float  # of the whole picture
    tint: tuple[float, float, float]  # RGB gains
    zenith: tuple[int, int, int]  # sky above, RGB
    horizon: tuple[int, int, int]  # sky below, RGB; the colour of the haze
    haze_m: float  # distance at which the haze hides 63 %
    clouds: float  # 0..1
    noise: float  # standard deviation, grey values
    blur: float  # standard deviation, pixels at KITTI's size


@dataclass(frozen=True)
class Actor:
    """Something with a 3D box: car, van, truck, pedestrian, cyclist."""

    kind: str
    x: float  # middle of its footprint, scene frame, metres
    z: float
    rotation_y: float  # KITTI: 0 looks along +x
    seed: int  # of its shape, colour and pose
    parked: bool = False


@dataclass(frozen=True)
class Prop:
    """Something that stands: building, tree, pole, sign, light, fence, wall, hedge."""

    kind: str
    near: tuple[float, float]  # (x, z) of its base; of a long thing its near end
    far: tuple[float, float]  # the far end of a long thing
    height: float
    side: int  # -1 stands left of the road, 1 right of it
    seed: int
    behind: bool = False  # stands behind everything else of its side


@dataclass(frozen=True)
class Scene:
    """Everything the renderer needs; the same arguments give the same picture, bit for bit."""

    camera: Camera
    light: Light
    road: Road
    style: str  # city, suburb, park
    actors: tuple[Actor, ...]
    props: tuple[Prop, ...]
    seed: int  # of textures and noise
