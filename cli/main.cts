#!/usr/bin/env node
/**
 * Threads of libuv's pool. A synced write keeps one of them until the disk has answered, and reads, look-ups of names and
 * statistics of files queue behind it when all are taken: four, the default, are few on a disk that is slow to answer. On
 * a fast one the number makes no difference (end to end within the noise with 4 and 8). Idle threads cost little.
 *
 * The pool takes its size when it is first used, and the loader of ES modules uses it: so this file is CommonJS, which is
 * loaded without it.
 */
process.env.UV_THREADPOOL_SIZE ??= '8'

import('./program.js')
  .then(({ run }) => run(process.argv))
  .then((exitCode) => {
    process.exitCode = exitCode
  })
