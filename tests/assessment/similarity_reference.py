"""Prints the table of similarity_test.cc: what scikit-image 0.25.2 says of the same made pictures."""

import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity


def noise(n, seed):
    out = np.empty(n)
    state = seed
    for i in range(n):
        state = (state * 1664525 + 1013904223) % 2**32
        out[i] = state / 2**32 - 0.5
    return out


def pair(height, width, seed, amplitude, shift):
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    a = 127.5 + 100 * np.sin(0.11 * y + 0.07 * x * (c + 1))
    b = 127.5 + 100 * np.sin(0.11 * y + 0.07 * (x + shift) * (c + 1)) + amplitude * noise(a.size, seed).reshape(a.shape)
    return a.clip(0, 255).astype(np.float32), b.clip(0, 255).astype(np.float32)


for case in [(112, 112, 1, 10, 0), (112, 112, 2, 120, 0), (112, 112, 3, 40, 5), (11, 37, 4, 60, 1), (64, 48, 5, 0, 20)]:
    a, b = (v.astype(np.float64) for v in pair(*case))
    ssim = structural_similarity(a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=-1,
                                 data_range=255)
    psnr = peak_signal_noise_ratio(a, b, data_range=255)
    correlation = 1 - np.corrcoef(a.ravel(), b.ravel())[0, 1]
    print("{%s, %.6f, %.6f, %.6f}," % (", ".join(str(v) for v in case), psnr, ssim, correlation))
