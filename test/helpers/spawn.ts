import { type ChildProcessByStdio, spawn } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { TestContext } from './context.js'
import { waitFor } from './wait_for.js'

/** The end of a process. */
export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** A process of a test; the cleanup of the test kills it (SIGKILL) if it still runs. */
export interface SpawnedProcess {
  readonly pid: number
  /** Standard input; `end()` it for programs that read to its end. */
  readonly stdin: Writable
  /** Its output so far, at most the last 4 MiB of each. */
  readonly output: { readonly stdout: string; readonly stderr: string }
  /** Resolves when it has ended and its output is complete. */
  readonly exited: Promise<Exit>
  kill(signal?: NodeJS.Signals): void
  /** Stops reading its standard output, like `head`. */
  closeOutput(): void
  /** Waits for output that matches; fails if the process ends without it. */
  waitForOutput(
    stream: 'stdout' | 'stderr',
    pattern: RegExp,
    options?: { deadlineMs?: number },
  ): Promise<RegExpExecArray>
}

export interface SpawnOptions {
  readonly cwd?: string
  /** Added to the environment of this process. */
  readonly env?: Readonly<Record<string, string>>
}

const outputCharactersMax = 4 * 1024 * 1024

/** Cleanups for children that still run, if this process exits before their test is over. */
const running = new Set<() => void>()
process.on('exit', () => {
  for (const kill of running) kill()
})

/** Starts a program and collects its output. */
export function spawnProcess(
  context: TestContext,
  command: string,
  args: readonly string[],
  { cwd, env }: SpawnOptions = {},
): SpawnedProcess {
  const child = spawn(command, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
    ...(cwd === undefined ? {} : { cwd }),
  })
  // A program that ends early closes its input; the test judges the result.
  child.stdin.on('error', () => {})
  const output = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] = (output[name] + text).slice(-outputCharactersMax)
    })
  }
  const { exited, hasExited } = watchExit(child, command)
  const kill = (signal: NodeJS.Signals = 'SIGTERM'): void => {
    if (!hasExited()) child.kill(signal)
  }
  const closeOutput = (): void => {
    child.stdout.destroy()
  }
  const killAtExit = (): void => kill('SIGKILL')
  running.add(killAtExit)
  context.defer(async () => {
    kill('SIGKILL')
    await exited.catch(() => {})
    running.delete(killAtExit)
  })
  const waitForOutput: SpawnedProcess['waitForOutput'] = (stream, pattern, options) =>
    waitFor(
      `${pattern} on ${stream} of ${command}`,
      () => {
        const match = pattern.exec(output[stream])
        if (match === null && hasExited())
          throw new Error(
            `${command} ended without ${pattern} on ${stream}\n${output.stdout}\n${output.stderr}`,
          )
        return match
      },
      options,
    )
  return { pid: child.pid ?? -1, stdin: child.stdin, output, exited, kill, closeOutput, waitForOutput }
}

/** Starts a script with this Node.js. */
export function spawnNode(
  context: TestContext,
  script: string,
  args: readonly string[] = [],
  options: SpawnOptions = {},
): SpawnedProcess {
  return spawnProcess(context, process.execPath, [script, ...args], options)
}

/** Starts the `millrace` command. */
export function spawnMillrace(
  context: TestContext,
  args: readonly string[],
  options: SpawnOptions = {},
): SpawnedProcess {
  return spawnNode(context, fileURLToPath(new URL('../../cli/main.cjs', import.meta.url)), args, options)
}

function watchExit(
  child: ChildProcessByStdio<Writable, Readable, Readable>,
  command: string,
): { exited: Promise<Exit>; hasExited: () => boolean } {
  let ended = false
  const exited = new Promise<Exit>((resolve, reject) => {
    child.once('error', (cause) => {
      ended = true
      reject(new Error(`can't start ${command}: ${cause.message}`, { cause }))
    })
    child.once('close', (code, signal) => {
      ended = true
      resolve({ code, signal })
    })
  })
  // Tests that do not wait for the end must not fail because of it.
  exited.catch(() => {})
  return { exited, hasExited: () => ended }
}
