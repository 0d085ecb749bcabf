import { existsSync } from 'node:fs'
import { dirname, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { discover } from './helpers/discover.js'
import { deadlineFactor, engineSeedText, enginesAreDelayed } from './helpers/engine_mode.js'
import { type Failure, type FileResult, runFiles } from './helpers/runner.js'

const parallel = 2
const fileDeadlineMs = 5 * 60_000 * deadlineFactor
const root = dirname(fileURLToPath(import.meta.url))

/**
 * Runs the compiled tests beside this file: all of them, those whose path contains one of the arguments
 * (`npm test -- storage/journal`), or the files that the arguments name. With MILLRACE_TEST_ENGINE=delayed
 * (`npm run test:delayed`) the engines of all brokers and stores take random time.
 */
async function main(args: readonly string[]): Promise<void> {
  const explicit = args.filter((arg) => arg.endsWith('.js') && existsSync(arg)).map((arg) => resolve(arg))
  const filters = args.filter((arg) => !(arg.endsWith('.js') && existsSync(arg)))
  const none = { files: [], strays: [], stale: [] }
  const found = explicit.length > 0 && filters.length === 0 ? none : await discover(root, filters)
  // Also hands the seed to the processes of the tests.
  if (enginesAreDelayed) console.error(`delayed engines: ${engineSeedText()}`)
  for (const path of found.stale) console.error(`ignored, its source is gone: ${shown(path)}`)

  const results = await runFiles([...explicit, ...found.files], {
    parallel,
    fileDeadlineMs,
    onResult: printResult,
  })
  const failures = [...results.flatMap((result) => result.failures), ...found.strays.map(strayFailure)]
  if (results.length === 0) failures.push(failure('(runner)', `no test file matches ${args.join(' ')}`))
  for (const failed of failures) printFailure(failed)
  process.exitCode = failures.length === 0 ? 0 : 1
  console.log(summary(results, failures.length))
  if (enginesAreDelayed && failures.length > 0) console.error(`the same delays: ${engineSeedText()}`)
}

function summary(results: readonly FileResult[], failed: number): string {
  const passed = results.reduce((sum, result) => sum + result.passed, 0)
  const skipped = results.reduce((sum, result) => sum + result.skipped.length, 0)
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
}

function printResult({ file, passed, skipped, failures, output, durationMs }: FileResult): void {
  const mark = failures.length === 0 ? 'ok  ' : 'FAIL'
  const seconds = (durationMs / 1000).toFixed(1)
  console.error(`${mark} ${shown(file)}  ${passed} passed, ${failures.length} failed  ${seconds} s`)
  for (const { test, reason } of skipped) console.error(`     skipped ${test}: ${reason}`)
  if (failures.length > 0 && output.trim() !== '') console.error(indent(`output:\n${output.trim()}`))
}

function printFailure({ file, test, message, stack }: Failure): void {
  console.error(`\nFAILED ${file === '' ? '' : `${shown(file)} `}${test}\n${indent(message)}`)
  if (stack !== '') console.error(indent(stack))
}

function strayFailure(path: string): Failure {
  return failure(
    shown(path),
    'calls suite() and is never run: neither named *.test.ts nor imported by a test',
  )
}

function failure(test: string, message: string): Failure {
  return { file: '', test, message, stack: '' }
}

function shown(path: string): string {
  return relative(root, path).replaceAll('\\', '/')
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, '    ')
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))
await main(process.argv.slice(2))
