import time, asyncio
from workers import *
async def test_x(house, tmp_path):
    for i in range(3):
        w=Workers(house,tmp_path/str(i),LITEMAAS_STATE_DIR=str(tmp_path/"state"))
        t=time.time()
        w.program.launch(); await asyncio.to_thread(w.program.wait); print('ready',time.time()-t)
        while len(w.pids)<2: await asyncio.sleep(.05)
        print('pids',time.time()-t)
        for _ in range(4):
            print(len(w._reachable()), time.time()-t)
        t=time.time(); w.program.stop(); print('stop',time.time()-t)
