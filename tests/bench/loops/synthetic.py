"""Small made-up data sets for the example scripts (numpy only, seeded)."""
import numpy as np


def smooth(rng, *shape):
    """Random field that is smooth along its last two axes."""
    x = rng.normal(size=shape)
    for axis in (-1, -2):
        x = (np.roll(x, 1, axis) + 2 * x + np.roll(x, -1, axis)) / 2
    return x / x.std()


def make_images(n=640, classes=8, size=8, seed=0, noise=0.6, own=0.9, style=1.2, counts=None):
    """Images of a few classes: class pattern + what is special in this one + lighting (offset per channel, a ramp) + noise.

    Lighting has nothing to do with the class, so distances of raw pixels are poor; augmentations change the lighting.
    """
    rng = np.random.default_rng(seed)
    patterns = smooth(np.random.default_rng(123), classes, 3, size, size)
    if counts is None:
        labels = np.arange(n) % classes
    else:
        labels = np.repeat(np.arange(classes), counts)
    n = len(labels)
    labels = rng.permutation(labels)
    x = 0.7 * patterns[labels] + own * smooth(rng, n, 3, size, size) + noise * rng.normal(size=(n, 3, size, size))
    ramp = np.linspace(-1, 1, size)
    x = x + style * rng.normal(size=(n, 3, 1, 1)) + style * rng.normal(size=(n, 1, 1, 1)) * ramp
    return x.astype("float32"), labels.astype("int64")


def to_uint8(x):
    """Pack float images into 0..255 pictures, channels last, as they come out of a JPEG."""
    return np.clip(128 + 28 * x, 0, 255).astype("uint8").transpose(0, 2, 3, 1)


VOCAB = 64
ATTRIBUTES = 4
VALUES = 6


def make_captioned_images(n=640, seed=0, length=12, size=8):
    """Pictures of several attributes (the first is 'the class'), and captions that name them among filler words."""
    rng = np.random.default_rng(seed)
    patterns = smooth(np.random.default_rng(321), ATTRIBUTES, VALUES, 3, size, size)
    values = rng.integers(0, VALUES, size=(n, ATTRIBUTES))
    images = sum(patterns[a, values[:, a]] for a in range(ATTRIBUTES)) + 0.6 * rng.normal(size=(n, 3, size, size))
    captions = np.zeros((n, length), dtype="int64")
    for i in range(n):
        words = [1 + a * VALUES + values[i, a] for a in range(ATTRIBUTES)]
        words += list(rng.integers(1 + ATTRIBUTES * VALUES, VOCAB, size=rng.integers(2, length - ATTRIBUTES - 1)))
        words = rng.permutation(words)
        captions[i, : len(words)] = words
    return images.astype("float32"), captions, values[:, 0].astype("int64")


def make_sentences(n=640, classes=8, vocab=200, seed=0, length=10):
    """Pairs of sentences about one topic: words of the topic, words of this pair, filler. Token 0 is padding, 1 is [CLS]."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    first, second = [], []
    for y in labels:
        own = rng.integers(100, vocab, 4)
        for out in (first, second):
            words = list(10 + y * 10 + rng.integers(0, 10, 2)) + list(rng.integers(10, 90, 2)) + list(rng.choice(own, 3)) + list(rng.integers(90, 100, rng.integers(0, length - 7)))
            out.append([int(w) for w in rng.permutation(words)])
    return first, second, labels.astype("int64")


def make_recordings(n=480, classes=6, seed=0, noise=0.5):
    """Video, image, audio and sensor of one event each: four different views on one hidden state."""
    rng = np.random.default_rng(seed)
    maps = np.random.default_rng(777)
    labels = rng.permutation(np.arange(n) % classes)
    centres = maps.normal(size=(classes, 12))
    hidden = centres[labels] + 0.8 * rng.normal(size=(n, 12))
    out = {}
    for name, shape in {"video": (4, 3, 6, 6), "image": (3, 8, 8), "audio": (1, 20, 8), "sensor": (6, 32)}.items():
        weights = maps.normal(size=(12, int(np.prod(shape)))) / np.sqrt(12)
        x = np.tanh(hidden @ weights) + noise * rng.normal(size=(n, int(np.prod(shape))))
        out[name] = x.reshape(n, *shape).astype("float32")
    return out, labels.astype("int64")


def make_sensor_sessions(subjects=10, activities=5, samples=640, seed=0):
    """One session for each subject and activity: three channels, rhythm of the activity, manner of the subject."""
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / 50.0
    sessions = []
    for s in range(subjects):
        gain, offset = rng.uniform(0.7, 1.4, 3), 0.4 * rng.normal(size=3)
        for a in range(activities):
            f = 1.0 + 1.3 * a + 0.1 * rng.normal()
            phase = rng.uniform(0, 6.28, 3)
            base = np.sin(2 * np.pi * f * t[:, None] + phase) + 0.5 * np.sin(2 * np.pi * 2 * f * t[:, None] + (a % 3) + phase)
            x = gain * base + offset + 0.6 * rng.normal(size=(samples, 3)) + 0.4 * np.cumsum(rng.normal(size=(samples, 3)), 0) / 8
            sessions.append({"subject": s, "activity": a, "signal": x.astype("float32")})
    return sessions


def knn_accuracy(train_x, train_y, test_x, test_y, k=5):
    """Cosine kNN, the usual quick check of an embedding."""
    a = np.asarray(train_x, dtype="float64")
    b = np.asarray(test_x, dtype="float64")
    a = a / (np.linalg.norm(a, axis=1, keepdims=True) + 1e-12)
    b = b / (np.linalg.norm(b, axis=1, keepdims=True) + 1e-12)
    nearest = np.argsort(-(b @ a.T), axis=1)[:, :k]
    votes = np.asarray(train_y)[nearest]
    guess = np.array([np.bincount(v).argmax() for v in votes])
    return float((guess == np.asarray(test_y)).mean())
