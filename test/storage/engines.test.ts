import { levelEngines, memoryEngines } from '../../storage/index.js'
import { engineContract } from './engine_contract.js'

engineContract('LevelDB', async ({ tempDir, defer }) => {
  const engine = await levelEngines(await tempDir()).open('journal')
  defer(() => engine.close())
  return engine
})

engineContract('memory', () => memoryEngines().open('journal'))
