#!/usr/bin/env node
import { setThreadPool } from './thread_pool.js'

// Before anything else is imported: the pool takes its size when it is first used.
setThreadPool()

const { run } = await import('./program.js')
process.exitCode = await run(process.argv)
