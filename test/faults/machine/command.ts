import { execFile, spawnSync } from 'node:child_process'
import { promisify } from 'node:util'

const execFileAsync = promisify(execFile)

/** A program and its arguments. */
export type Command = readonly [program: string, ...args: string[]]

const commandDeadlineMs = 30_000

/**
 * Runs a program to its end.
 * @returns its standard output without the last line break
 * @throws Error with its standard error if it fails or takes longer than 30 seconds
 */
export async function run(program: string, ...args: readonly string[]): Promise<string> {
  try {
    const { stdout } = await execFileAsync(program, args, { timeout: commandDeadlineMs })
    return stdout.trimEnd()
  } catch (error) {
    const stderr = (error as { stderr?: string }).stderr?.trim()
    const reason = stderr ? stderr : String(error)
    throw new Error(`${program} ${args.join(' ')}: ${reason}`, { cause: error })
  }
}

const leftovers = new Set<readonly Command[]>()
process.on('exit', () => {
  for (const commands of leftovers) for (const [program, ...args] of commands) spawnSync(program, args)
})

/**
 * Names commands that clean up if this process exits before the cleanups of its test: the changes of a driver
 * outlive the process otherwise. No help against SIGKILL.
 * @returns withdraws them, for the ordinary cleanup
 */
export function runAtExit(...commands: readonly Command[]): () => void {
  leftovers.add(commands)
  return () => leftovers.delete(commands)
}
