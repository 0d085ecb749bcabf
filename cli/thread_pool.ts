/**
 * Threads of libuv's pool. A synced write keeps one busy for milliseconds, and so do reads, decompression and look-ups of
 * names beside it: with the default of four they queue behind each other (bench/README.md).
 */
const threads = 8

/** Sets the size of the pool, unless the environment says otherwise; has no effect once the pool is in use. */
export function setThreadPool(): void {
  process.env.UV_THREADPOOL_SIZE ??= String(threads)
}
