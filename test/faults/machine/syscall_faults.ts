import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from '../../helpers/context.js'
import { type SpawnedProcess, spawnProcess } from '../../helpers/spawn.js'
import { checkOnce, linux, tools, trial, type Unavailable } from './requirements.js'

/** The fault of system calls. */
export interface SyscallFault {
  /** Names of system calls. LevelDB syncs with `fdatasync`, and a folder with `fsync`; see `syncCalls`. */
  readonly calls: readonly string[]
  /** The call is not made and fails with this, like `EIO`. */
  readonly error?: 'EIO' | 'ENOSPC' | 'EDQUOT' | 'EROFS'
  /** The call returns this much later, in milliseconds. */
  readonly delayMs?: number
  /**
   * The affected calls, in the syntax of strace(1): `3` the third, `3+` from the third on, `1+2` every other. All by
   * default. strace counts for each thread: with UV_THREADPOOL_SIZE=1 all writes of a store come from one thread, but
   * the background thread of LevelDB, which writes tables and the manifest, has its own count.
   */
  readonly when?: string
}

/** A fault that is being injected. */
export interface InjectedFault {
  /** Affected system calls so far. */
  count(): Promise<number>
  /** Ends it; the process continues unharmed. The cleanup of the context does so, too. */
  detach(): Promise<void>
}

/** All calls with which LevelDB, and this program, sync data. */
export const syncCalls: readonly string[] = ['fdatasync', 'fsync']

/**
 * Injects a fault into a running process: a disk that begins to fail, or to be slow, under load. strace(1)
 * attaches to all its threads, also later ones.
 *
 * Limits: a failing call is not made, so the data still gets to disk some seconds later, while a real failed fsync may
 * drop it; combine it with a power cut for that. While attached, every system call of the process stops for the tracer,
 * about 10 to 50 microseconds each: do not compare latency with a run without strace. `spawnWithSyscallFault` stops
 * only at the affected calls.
 * @throws Error if strace cannot attach, for example because another tracer has
 */
export async function injectSyscallFault(
  context: TestContext,
  pid: number,
  fault: SyscallFault,
): Promise<InjectedFault> {
  const trace = join(await context.tempDir(), 'strace')
  const strace = spawnProcess(context, 'strace', ['-f', ...options(fault, trace), '-p', `${pid}`])
  await strace.waitForOutput('stderr', /Process \d+ attached/)
  const detach = async (): Promise<void> => {
    strace.kill('SIGINT')
    await strace.exited
  }
  context.defer(detach)
  return { count: () => countMet(trace), detach }
}

/**
 * Starts a program with a fault from its first call to its last. The tracer is its descendant and not its parent, so
 * the returned process is the program itself; other calls run at full speed.
 */
export async function spawnWithSyscallFault(
  context: TestContext,
  fault: SyscallFault,
  command: string,
  args: readonly string[],
): Promise<{ readonly process: SpawnedProcess; count(): Promise<number> }> {
  const trace = join(await context.tempDir(), 'strace')
  const tracing = ['-D', '-f', '--seccomp-bpf', ...options(fault, trace), command, ...args]
  const env = { UV_THREADPOOL_SIZE: '1' }
  return { process: spawnProcess(context, 'strace', tracing, { env }), count: () => countMet(trace) }
}

function options({ calls, error, delayMs, when }: SyscallFault, trace: string): string[] {
  const names = calls.join(',')
  const effects = [
    ...(error === undefined ? [] : [`error=${error}`]),
    ...(delayMs === undefined ? [] : [`delay_exit=${Math.round(delayMs * 1000)}`]),
    ...(when === undefined ? [] : [`when=${when}`]),
  ]
  const inject = `inject=${[names, ...effects].join(':')}`
  return ['-o', trace, '-e', `trace=${names}`, '-e', 'signal=none', '-e', inject]
}

async function countMet(trace: string): Promise<number> {
  return (await readFile(trace, 'latin1').catch(() => '')).match(/\((INJECTED|DELAYED)\)/g)?.length ?? 0
}

/** The reason why no faults can be injected here. */
export const syscallFaultsUnavailable: Unavailable = checkOnce(
  linux,
  tools('strace'),
  trial('attaching with strace', async (context) => {
    const { pid } = spawnProcess(context, 'sleep', ['60'])
    await injectSyscallFault(context, pid, { calls: syncCalls, error: 'EIO' })
  }),
)
