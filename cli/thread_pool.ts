/**
 * Threads of libuv's pool. A synced write keeps one of them until the disk has answered, and reads, look-ups of names and
 * statistics of files queue behind it when all are taken: four, the default, are few on a disk that is slow to answer. On a
 * fast one the number makes no difference: with 2, 4, 8 and 16, four readers of a cold log of 300 MB got 490, 475, 487 and
 * 463 MB/s, and the p99 of a publish beside them was 62, 63, 60 and 63 ms (medians of three, two cores). Idle threads cost little.
 */
const threads = 8

/** Sets the size of the pool, unless the environment says otherwise; has no effect once the pool is in use. */
export function setThreadPool(): void {
  process.env.UV_THREADPOOL_SIZE ??= String(threads)
}
