"""The KITTI object definition once more, frame by frame and box by box: slow and readable.

Boxes are plain tuples, so that nothing is shared with the package:
label (type, truncation, occlusion, alpha, xyxy, solid), detection (type, score, alpha, xyxy,
solid), solid (h, w, l, x, y, z, rotation).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LIMITS = {"easy": (40, 0, 0.15), "moderate": (25, 1, 0.30), "hard": (25, 2, 0.50)}
OVERLAP = {"car": 0.7, "pedestrian": 0.5, "cyclist": 0.5}
NEIGHBOUR = {"car": "van", "pedestrian": "person_sitting", "cyclist": None}


@dataclass(frozen=True)
class Variant:
    limit_height_counts: bool
    short_detections: bool


def image(a, b, own):
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a, b
    w, h = min(ax2, bx2) - max(ax1, bx1), min(ay2, by2) - max(ay1, by1)
    if w <= 0 or h <= 0:
        return 0.0
    area_a, area_b = (ax2 - ax1) * (ay2 - ay1), (bx2 - bx1) * (by2 - by1)
    return w * h / (area_a if own else area_a + area_b - w * h)


def polygon(solid):
    h, w, l, x, y, z, ry = solid  # noqa: E741
    cos, sin = math.cos(ry), math.sin(ry)
    w, l = abs(w), abs(l)  # noqa: E741
    corners = [(l / 2, w / 2), (-l / 2, w / 2), (-l / 2, -w / 2), (l / 2, -w / 2)]
    return [(cos * a + sin * b + x, -sin * a + cos * b + z) for a, b in corners]


def area(points):
    pairs = zip(points, points[1:] + points[:1], strict=True)
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in pairs) / 2


def clip(points, a, b):
    """Sutherland and Hodgman: the part of a polygon on the left of the line a -> b."""

    def side(p):
        return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])

    kept = []
    for p, q in zip(points, points[1:] + points[:1], strict=True):
        d, e = side(p), side(q)
        if d >= 0:
            kept.append(p)
        if (d >= 0) != (e >= 0):
            t = d / (d - e)
            kept.append((p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])))
    return kept


def shared_ground(a, b):
    if a[1] * a[2] <= 0 or b[1] * b[2] <= 0:
        return 0.0
    points, other = polygon(a), polygon(b)
    for p, q in zip(other, other[1:] + other[:1], strict=True):
        points = clip(points, p, q)
        if not points:
            return 0.0
    return area(points)


def ground(a, b, own):
    inter = shared_ground(a, b)
    if inter <= 0:
        return 0.0
    return inter / (a[1] * a[2] if own else a[1] * a[2] + b[1] * b[2] - inter)


def box3d(a, b, own):
    inter = shared_ground(a, b) * max(0, min(a[4], b[4]) - max(a[4] - a[0], b[4] - b[0]))
    if inter <= 0:
        return 0.0
    volume_a, volume_b = a[0] * a[1] * a[2], b[0] * b[1] * b[2]
    return inter / (volume_a if own else volume_a + volume_b - inter)


METRIC = {"image": (image, -2), "ground": (ground, -1), "box3d": (box3d, -1)}


def mark_label(label, kind, difficulty, variant):
    name, truncation, occlusion, _, (_, top, _, bottom), _ = label
    height, (low, max_occlusion, max_truncation) = bottom - top, LIMITS[difficulty]
    if name.lower() == kind:
        small = height < low if variant.limit_height_counts else height <= low
        hard = occlusion > max_occlusion or truncation > max_truncation or small
        return "ignored" if hard else "valid"
    return "ignored" if name.lower() == NEIGHBOUR[kind] else "other"


def mark_detection(detection, kind, difficulty, variant):
    name, _, _, (_, top, _, bottom), _ = detection
    if variant.short_detections and int(abs(top - bottom)) < LIMITS[difficulty][0]:
        return "short"
    return "valid" if name.lower() == kind else "other"


def match_frame(labels, detections, kind, difficulty, variant, metric, threshold):
    """(tp, fp, fn, similarity, scores of the true positives); threshold None: collect mode."""
    overlap, part = METRIC[metric]
    marks = [mark_detection(d, kind, difficulty, variant) for d in detections]
    free = [
        m != "other" and (threshold is None or d[1] >= threshold)
        for m, d in zip(marks, detections, strict=True)
    ]
    tp, fn, similarity, scores = 0, 0, 0.0, []
    for label in labels:
        mark = mark_label(label, kind, difficulty, variant)
        if mark == "other":
            continue
        found, best = None, None
        for i, detection in enumerate(detections):
            value = overlap(detection[part], label[part], False) if free[i] else 0
            if not value > OVERLAP[kind]:
                continue
            if threshold is None:
                if found is None or detection[1] > best:
                    found, best = i, detection[1]
            elif marks[i] == "valid" and (found is None or marks[found] == "short" or value > best):
                found, best = i, value
            elif marks[i] == "short" and found is None:
                found = i
        if found is None:
            fn += mark == "valid"
            continue
        free[found] = False
        if mark == "valid" and marks[found] == "valid":
            tp += 1
            scores.append(detections[found][1])
            similarity += (1 + math.cos(label[3] - detections[found][2])) / 2
    left = [i for i, m in enumerate(marks) if m == "valid" and free[i]]
    regions = [label[part] for label in labels if label[0].lower() == "dontcare"]
    limit = OVERLAP[kind]
    forgiven = [
        i for i in left if any(overlap(detections[i][part], r, True) > limit for r in regions)
    ]
    return tp, len(left) - len(forgiven), fn, similarity, scores


def thresholds_of(scores, objects):
    ordered, current, taken = sorted(scores, reverse=True), 0.0, []
    n = len(ordered)
    for i, value in enumerate(ordered):
        left = (i + 1) / objects
        right = (i + 2) / objects if i < n - 1 else left
        if right - current < current - left and i < n - 1:
            continue
        taken.append(value)
        current += 1 / 40
    return taken


def curves(frames, kind, difficulty, variant, metric):
    """41 precisions and 41 orientation similarities of frames [(labels, detections)]."""
    rules = (kind, difficulty, variant, metric)
    objects = sum(mark_label(g, *rules[:3]) == "valid" for labels, _ in frames for g in labels)
    scores = [s for f in frames for s in match_frame(*f, *rules, None)[4]]
    precision, similarity = [0.0] * 41, [0.0] * 41
    for slot, threshold in enumerate(thresholds_of(scores, objects)):
        found = [match_frame(*f, *rules, threshold) for f in frames]
        tp, fp, angle = (sum(counts[i] for counts in found) for i in (0, 1, 3))
        precision[slot] = tp / (tp + fp) if tp + fp else math.nan
        similarity[slot] = angle / (tp + fp) if tp + fp else math.nan
    return running_maximum(precision), running_maximum(similarity)


def running_maximum(values):
    result = []
    for i, best in enumerate(values):
        for candidate in values[i + 1 :]:
            if best < candidate:
                best = candidate
        result.append(best)
    return result
