/** Runs the tests like run.ts, on engines whose reads and commits take random time. */
process.env.MILLRACE_TEST_ENGINE = 'delayed'
await import('./run.js')
