"""The few sizes that shapes are filled up to; see `few_shapes`. Knows no torch."""

# Numbers of rows. Micro-batches are put together so that little of this is padding (model/text/batching.py).
ROWS = (1, 4, 8, 16, 32, 64, 128, 256)
# Most pieces in a micro-batch: from 512 on products are as fast as they get.
MOST_PIECES = 2048


def few_pieces(n: int, most: int | None = None) -> int:
    """The next length of rows: multiples of 8, from 64 on four to an octave.

    n (int): Pieces in the longest row.
    most (int | None): Longest row that the encoder can read.
    """
    return max(n, min(_rounded(n, 8), most or n * 2 + 8))


def few_rows(n: int, n_pieces: int) -> int:
    """The next number of rows. A document above the most pieces of a micro-batch, which runs alone, is rounded up to
    multiples of what fits."""
    step = max((rows for rows in ROWS if rows * n_pieces <= MOST_PIECES), default=1)
    return next((rows for rows in ROWS if n <= rows <= step), -(-n // step) * step)


def few_values(n: int) -> int:
    """The next number of rows for one product alone: multiples of 8, from 128 on eight to an octave."""
    return _rounded(n, 16)


def _rounded(n: int, per_octaves: int) -> int:
    step = 8
    while n > per_octaves * step:
        step *= 2
    return -(-n // step) * step
