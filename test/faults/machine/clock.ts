import { existsSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from '../../helpers/context.js'
import { checkOnce, linux, type Unavailable } from './requirements.js'

const libraries = ['x86_64-linux-gnu', 'aarch64-linux-gnu', 'arm-linux-gnueabihf']
  .map((machine) => `/usr/lib/${machine}/faketime/libfaketimeMT.so.1`)
  .concat('/usr/lib/faketime/libfaketimeMT.so.1', '/usr/lib64/faketime/libfaketimeMT.so.1')

/**
 * A wall clock that jumps, as after a change by an administrator, an NTP step, or a wake-up of a virtual machine. Only
 * processes
 * started with `env` have it, by means of libfaketime; their monotonic clock, timers and file times stay true.
 */
export interface MovableClock {
  /** For the environment of a process; works for Node.js, whose `Date` asks libc. */
  readonly env: Readonly<Record<string, string>>
  /** Moves the clock of all these processes from their next read: this many milliseconds from the true time. */
  move(offsetMs: number): Promise<void>
}

/** @throws Error without libfaketime; see `movableClockUnavailable` */
export async function movableClock(context: TestContext): Promise<MovableClock> {
  const library = libraries.find((path) => existsSync(path))
  if (library === undefined) throw new Error(missing)
  const path = join(await context.tempDir(), 'offset')
  const move = async (offsetMs: number): Promise<void> => {
    const seconds = (offsetMs / 1000).toFixed(3)
    // By rename, because processes read the file all the time.
    await writeFile(`${path}.new`, offsetMs < 0 ? seconds : `+${seconds}`)
    await rename(`${path}.new`, path)
  }
  await move(0)
  const env = {
    LD_PRELOAD: library,
    FAKETIME_TIMESTAMP_FILE: path,
    FAKETIME_NO_CACHE: '1',
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
    DONT_FAKE_MONOTONIC: '1',
    NO_FAKE_STAT: '1',
  }
  return { env, move }
}

const missing = 'needs libfaketime (apt-get install faketime)'

/** The reason why no clock can be moved here. */
export const movableClockUnavailable: Unavailable = checkOnce(linux, async () =>
  libraries.some((path) => existsSync(path)) ? undefined : missing,
)
