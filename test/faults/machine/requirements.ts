import { RunningTest, type TestContext } from '../../helpers/context.js'
import { run } from './command.js'

/** Returns the reason why something cannot run on this machine; undefined if it can. */
export type Unavailable = () => Promise<string | undefined>

/** Names of the Debian packages with the tools of the drivers. */
const packages = {
  dd: 'coreutils',
  fallocate: 'util-linux',
  gcc: 'gcc',
  ip: 'iproute2',
  losetup: 'mount',
  'mkfs.ext4': 'e2fsprogs',
  mount: 'mount',
  nsenter: 'util-linux',
  prlimit: 'util-linux',
  python3: 'python3',
  strace: 'strace',
} as const

/** A program that a driver runs. */
export type Tool = keyof typeof packages

/** Checks each until one gives a reason; the answer is kept for the life of the process. */
export function checkOnce(...checks: readonly Unavailable[]): Unavailable {
  let answer: Promise<string | undefined> | undefined
  const check = async (): Promise<string | undefined> => {
    for (const next of checks) {
      const reason = await next()
      if (reason !== undefined) return reason
    }
    return undefined
  }
  return () => {
    answer ??= check()
    return answer
  }
}

/** Requires Linux. */
export async function linux(): Promise<string | undefined> {
  return process.platform === 'linux' ? undefined : `needs Linux, this is ${process.platform}`
}

/** Requires Linux and root. */
export const linuxRoot: Unavailable = checkOnce(linux, async () =>
  process.getuid?.() === 0 ? undefined : 'needs root',
)

/** Requires programs in the path. */
export function tools(...names: readonly Tool[]): Unavailable {
  return async () => {
    for (const name of names) {
      const found = await run('sh', '-c', `command -v ${name}`).catch(() => '')
      if (found === '') return `needs ${name} (apt-get install ${packages[name]})`
    }
    return undefined
  }
}

/** Requires the success of a trial, because only the kernel knows. The trial registers cleanups with its context. */
export function trial(what: string, attempt: (context: TestContext) => Promise<unknown>): Unavailable {
  return async () => {
    const context = new RunningTest()
    try {
      await attempt(context)
      return undefined
    } catch (error) {
      return `${what} does not work here: ${error instanceof Error ? error.message : String(error)}`
    } finally {
      await context.cleanUp().catch(() => {})
    }
  }
}
