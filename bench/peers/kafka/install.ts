import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { jarFolder, kafkaVersion, pomPath } from './jars.js'

/** Fetches the jars of Kafka into the folder where the bench looks for them: all of them or none. */
async function install(): Promise<void> {
  const folder = jarFolder()
  if (existsSync(folder)) throw new Error(`${folder} already exists: remove it to download Kafka again`)
  const partial = `${folder}.partial-${process.pid}`
  await mkdir(dirname(folder), { recursive: true })
  const goal = ['dependency:copy-dependencies', `-DoutputDirectory=${partial}`]
  try {
    const { status, error } = spawnSync('mvn', ['-q', '-B', '-f', pomPath, ...goal], { stdio: 'inherit' })
    if (error !== undefined) throw new Error(`mvn can't be run (apt-get install maven): ${error.message}`)
    if (status !== 0) throw new Error(`mvn ended with exit code ${status}`)
    await rename(partial, folder)
  } finally {
    await rm(partial, { recursive: true, force: true })
  }
  console.log(`Kafka ${kafkaVersion()} is in ${folder}`)
}

await install()
